# A first worker, to be read from top to bottom: it greets, one run at a time. JSON in, JSON out.
#
# It keeps the rules of ../README.md, and so outlives a server that dies, goes or asks it to go, and loses or repeats nothing
# by that. It does without log lines, progress, a second slot, and a new stream before the old one ends: greet.rb has all that.

require "json"
require "mainspring/worker/v1/worker_service_services_pb"
require_relative "server"

Common = Mainspring::Common::V1
Pb = Mainspring::Worker::V1
SIGNALS = %w[TERM INT].freeze

def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def seconds(duration) = duration ? duration.seconds + duration.nanos / 1e9 : 0
def key(message) = [message.attempt.run_id, message.attempt.attempt]

# Raised in a handler, out of `wait`, once it is to stop.
class Stopped < StandardError; end

# What the worker holds from the Dispatch to the ResultAck. Its slot is free as soon as there is a result.
class Attempt
  attr_reader :dispatch, :phase, :result
  attr_accessor :asked

  def initialize(dispatch)
    @dispatch, @phase = dispatch, :ATTEMPT_PHASE_RUNNING
  end

  def stop
    @phase = :ATTEMPT_PHASE_CANCELLING if @phase == :ATTEMPT_PHASE_RUNNING
  end

  # For handlers: lets time pass, and raises once it is to stop. Code is not stopped elsewhere, where it may hold anything.
  def wait(seconds)
    over = clock + seconds
    while clock < over
      raise Stopped if @phase == :ATTEMPT_PHASE_CANCELLING
      sleep 0.05
    end
  end

  def finish(outcome)
    outcome ||= @asked ? { cancelled: Pb::AttemptCancelled.new } : { interrupted: Pb::AttemptInterrupted.new }
    @result = Pb::AttemptResult.new(attempt: @dispatch.attempt, **outcome)
    @phase = :ATTEMPT_PHASE_RESULT_PENDING
  end
end

# One thread listens, one lets time pass, one does the run. What they share is behind the lock.
class FirstWorker
  def initialize(job_type, handler)
    @job_type, @handler, @id, @streams = job_type, handler, uuid7, 0
    @lock, @outgoing, @proven_until = Mutex.new, Queue.new, 0
    @held = {} # attempts by run and number
  end

  def run
    SIGNALS.each { |signal| trap(signal) { told_to_leave } }
    puts "id #{@id}"
    Thread.new { loop { sleep 0.05 and @lock.synchronize { tick } } }
    until done?
      @pause = rand * 3
      stream
      sleep @pause unless done?
    end
  end

  # Where a signal is caught, a lock cannot be taken.
  def told_to_leave
    SIGNALS.each { |signal| trap(signal, "SYSTEM_DEFAULT") } # the next one ends it at once
    @told_to_leave = true
  end

  def done? = @leaving && @held.empty?

  def stream
    @lock.synchronize { dial }
    @call.execute.each { |message| @lock.synchronize { heard(message) } }
  rescue GRPC::BadStatus => e
    puts "down: #{e.details}"
  ensure
    @lock.synchronize { half_close } # or what speaks would wait for ever
  end

  def dial
    @outgoing = outgoing = Queue.new # whoever speaks on a stream keeps to its own
    @heard_at, @patience = clock, 10
    @sent = [clock] # when Hello, which counts as 0, and each heartbeat went out
    outgoing << Pb::WorkerStreamRequest.new(hello: hello)
    requests = Enumerator.new { |on| while (message = outgoing.pop) do on << message end }
    @call = connect(Pb::WorkerService).worker_stream(requests, metadata: METADATA, return_op: true)
  end

  # What time brings.
  def tick
    leave if @told_to_leave && !@leaving
    @call.cancel if @call && clock - @heard_at > @patience
    beat if @up && clock >= @beat_at
    @held.each_value(&:stop) if @leaving && clock >= @stop_at
    # Without a lease that can be proven, what must not run twice at a time ends. The rest goes on.
    must_end = ->(attempt) { attempt.dispatch.lease_loss_policy == :LEASE_LOSS_POLICY_STOP && clock >= @proven_until }
    @held.values.select(&must_end).each(&:stop)
  end

  # What it says.

  def hello
    Pb::Hello.new(
      worker_instance_id: @id, worker_name: "first-ruby", connect_sequence: @streams += 1,
      min_protocol_version: 1, max_protocol_version: 1, handlers: [Pb::HandlerSpec.new(job_type: @job_type)],
      capabilities: %i[CAPABILITY_CANCELLATION CAPABILITY_SERVER_DRAIN], **state
    )
  end

  # All it holds and takes: this is the truth, everything else is a hint.
  def state
    held = @held.values.map { |attempt| Pb::AttemptStatus.new(attempt: attempt.dispatch.attempt, phase: attempt.phase) }
    { in_flight: held, capacity: [Pb::QueueCapacity.new(max_in_flight: @draining ? 0 : 1)] }
  end

  def beat
    state_of_worker = @draining ? :WORKER_STATE_DRAINING : :WORKER_STATE_ACTIVE
    say(heartbeat: Pb::Heartbeat.new(sequence: @sent.size, state: state_of_worker, **state))
    @sent << clock
    plan_beat
  end

  def plan_beat = @beat_at = clock + seconds(@welcome.heartbeat_interval) * rand(0.9..1.1)

  # Nothing is kept for a later stream: what counts is said after its Welcome.
  def say(**message) = (@outgoing << Pb::WorkerStreamRequest.new(**message) if @up)

  def half_close
    @up = false
    @outgoing << nil
  end

  # What it hears: a method for each message, named after it.

  def heard(message)
    @heard_at, kind = clock, message.message
    # What is not here is about something that it does without.
    send("on_#{kind}", message[kind.to_s]) if respond_to?("on_#{kind}")
  end

  def on_welcome(welcome)
    puts "up #{welcome.session_id}"
    @welcome, @patience = welcome, seconds(welcome.silence_timeout)
    renewed(0, welcome) # first, so that what no longer counts is not said again
    plan_beat
    @up = true
    @held.each_value { |attempt| say(result: attempt.result) if attempt.result }
    leave if @leaving
  end

  def on_heartbeat_ack(ack) = renewed(ack.sequence, ack)

  def renewed(sequence, answer)
    answer.directives.each { |directive| directive.cancel ? on_cancel(directive) : on_revoke(directive) }
    ttl = seconds(answer.lease_ttl)
    @proven_until = @sent[sequence] + ttl - [3, ttl / 10].min
  end

  def on_dispatch(dispatch)
    is_full = @draining || !@held.values.all?(&:result)
    start_by = [@sent[dispatch.basis_sequence] + seconds(@welcome.start_window), @proven_until].min
    if is_full || clock >= start_by
      reason = is_full ? :REJECT_REASON_NO_CAPACITY : :REJECT_REASON_STALE
      reply = { rejected: Pb::DispatchRejected.new(reason: reason) }
    else
      reply = { accepted: Pb::DispatchAccepted.new(phase: :ATTEMPT_PHASE_RUNNING) }
      attempt = @held[key(dispatch)] = Attempt.new(dispatch)
      Thread.new { work(attempt) }
    end
    say(dispatch_reply: Pb::DispatchReply.new(attempt: dispatch.attempt, **reply))
  end

  def work(attempt)
    outcome = call(attempt)
    @lock.synchronize do
      attempt.finish(outcome)
      # Else it was revoked, and nobody wants to know.
      say(result: attempt.result) if @held.key?(key(attempt.dispatch))
    end
  end

  # Nothing, where it was stopped.
  def call(attempt)
    input = attempt.dispatch.input&.inline.to_s
    output = JSON.generate(@handler.call(input.empty? ? nil : JSON.parse(input), attempt))
    too_much = output.bytesize > @welcome.limits.max_inline_payload_bytes
    raise "the output has #{output.bytesize} bytes, which is too much" if too_much
    # `inline` is bytes: text that is not ASCII has to be told so.
    payload = Common::Payload.new(content_type: "application/json", inline: output.b)
    { succeeded: Pb::AttemptSucceeded.new(output: payload) }
  rescue Stopped
    nil
  rescue StandardError => e
    { failed: Pb::AttemptFailed.new(failure: Common::Failure.new(message: e.full_message(highlight: false)[0, 1000])) }
  end

  # To be stopped, and to report what really happened. That it was told to is seen in the next heartbeat.
  def on_cancel(cancel)
    attempt = @held[key(cancel)] or return
    attempt.asked = true
    attempt.stop
  end

  # It no longer counts: to be stopped and forgotten, and nothing said of it.
  def on_revoke(revoke)
    on_cancel(revoke)
    on_result_ack(revoke)
  end

  def on_result_ack(ack)
    @held.delete(key(ack))
    half_close if @up && done?
  end

  def on_drain(drain)
    case drain.mode
    when :SERVER_DRAIN_MODE_RECONNECT
      @pause = seconds(drain.reconnect_delay)
      half_close
    when :SERVER_DRAIN_MODE_QUIESCE then @draining = true
    when :SERVER_DRAIN_MODE_TERMINATE then leave
    end
  end

  # No more work; what it has may end within 30 s, then it is interrupted; out once nothing is held.
  def leave
    @draining = @leaving = true
    @stop_at ||= clock + 30
    say(drain: Pb::WorkerDrain.new(note: "asked to leave"))
    half_close if @up && done?
  end
end

$stdout.sync = true
Thread.abort_on_exception = true # half a worker would be worse than none

# Your code. It may block as it likes; where it can be stopped it says by `wait`.
greet = lambda do |job, attempt|
  puts "greet #{job["name"]}"
  attempt.wait(job.fetch("seconds", 0))
  "hello, #{job["name"]}"
end

FirstWorker.new("greet", greet).run
