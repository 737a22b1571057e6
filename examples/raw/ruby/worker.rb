# A worker on bare stubs: what it holds, what it says of it, and what it does about what it hears.
#
# The rules it follows are told in ../README.md. The one to begin with: messages are hints, and the full state in Hello and
# heartbeats is the truth. So nothing is queued while there is no session; it is said after the next Welcome.

require "mainspring/worker/v1/worker_service_services_pb"
require_relative "attempt"
require_relative "server"
require_relative "stream"

Pb = Mainspring::Worker::V1
SIGNALS = %w[TERM INT].freeze
PATIENCE = 30 # seconds that runs have to end in once the worker leaves

def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
def seconds(duration) = duration ? duration.seconds + duration.nanos / 1e9 : 0

class Worker
  def initialize(name, handlers, slots)
    @name, @handlers, @slots, @instance = name, handlers, slots, uuid7
    @inbox, @held = Queue.new, {} # what threads ask of this one; attempts by run id and number
    @streams, @opened, @failures, @dial_at = [], 0, 0, clock
    @proven_until = 0
  end

  # Everything happens in this thread, one thing after the other.
  def run
    puts "id #{@instance}"
    SIGNALS.each { |signal| trap(signal) { told_to_leave } }
    Thread.new { loop { sleep 0.05 and post { tick } } }
    @inbox.pop.call until @leaving && @held.empty? && !@session
  end

  def post(&work) = @inbox << work

  def told_to_leave
    SIGNALS.each { |signal| trap(signal, "SYSTEM_DEFAULT") } # the next one ends it at once
    post { leave }
  end

  def leave
    @draining = @leaving = true
    @stop_at ||= clock + PATIENCE
    say(drain: Pb::WorkerDrain.new(note: "asked to leave"))
    settle
  end

  def tick
    dial if @dial_at && clock >= @dial_at
    @streams.each(&:tick)
    @held.each_value { |attempt| attempt.stop(false) } if @stop_at && clock >= @stop_at
    return if clock < @proven_until
    # What must not overlap ends as soon as the lease cannot be proven any more.
    @held.each_value { |attempt| attempt.stop(false) if attempt.must_not_overlap }
  end

  def dial
    @dial_at = nil
    @opened += 1
    @streams << (@newest = Stream.new(self, hello))
  end

  def ended(stream, why)
    puts "down #{why}"
    @streams.delete(stream)
    @session = nil if @session == stream
    return unless stream == @newest # else its successor is there, or on its way
    @failures = stream.welcome ? 0 : @failures + 1
    again = clock + rand * (@failures.zero? ? 3 : [10, 0.5 * 2**@failures].min)
    @dial_at = [@dial_at, again].compact.min
  end

  # What it says.

  def say(**message) = @session&.say(**message)

  def hello
    Pb::Hello.new(
      worker_instance_id: @instance, worker_name: @name, connect_sequence: @opened,
      min_protocol_version: 1, max_protocol_version: 1,
      capabilities: %i[CAPABILITY_CANCELLATION CAPABILITY_LOGS CAPABILITY_SERVER_DRAIN],
      handlers: @handlers.keys.map { |type| Pb::HandlerSpec.new(job_type: type) },
      capacity: capacity, in_flight: in_flight
    )
  end

  def heartbeat(sequence)
    @held.each_value(&:offer_lines) # a batch that was not acknowledged may have been dropped
    state = @draining ? :WORKER_STATE_DRAINING : :WORKER_STATE_ACTIVE
    Pb::Heartbeat.new(sequence: sequence, state: state, in_flight: in_flight, capacity: capacity)
  end

  def capacity = [Pb::QueueCapacity.new(max_in_flight: @draining ? 0 : @slots)]

  def in_flight = @held.values.reject(&:acknowledged).map(&:status)

  # What it hears.

  def heard(stream, response)
    stream.heard_something
    kind = response.message # nil, where the server is newer than these stubs
    body = kind && response[kind.to_s]
    case kind
    when :welcome then welcomed(stream, body)
    when :heartbeat_ack
      follow(body.directives)
      renew(stream.sent[body.sequence], body.lease_ttl)
    when :dispatch then dispatched(stream, body) if stream == @newest
    when :cancel then cancelled(body.attempt)
    when :result_ack
      @held[key(body.attempt)]&.acknowledged = true
      settle
    when :log_ack
      @held[key(body.attempt)]&.lines_stored(body.next_offset)
      settle
    when :revoke then abandon(body.attempt)
    when :drain then asked_to_drain(stream, body)
    when :notice then puts "notice #{body.reason} #{body.message}"
    end
  end

  def welcomed(stream, welcome)
    puts "up #{welcome.session_id}"
    stream.welcomed(welcome)
    @session&.half_close
    @session = stream
    follow(welcome.directives) # first, so that what no longer counts is not said again
    renew(stream.sent[0], welcome.lease_ttl)
    @held.each_value(&:say_again)
    leave if @leaving
  end

  def renew(sent, lease_ttl)
    ttl = seconds(lease_ttl)
    @proven_until = [@proven_until, sent + ttl - [3, ttl / 10].min].max if sent
  end

  def dispatched(stream, dispatch)
    handler, basis_sent = @handlers[dispatch.job_type], stream.sent.fetch(dispatch.basis_sequence, -1e9)
    start_before = [basis_sent + seconds(stream.welcome.start_window), @proven_until].min
    running = @held.values.count { |attempt| attempt.thread.alive? }
    return reject(dispatch, :REJECT_REASON_DRAINING) if @draining
    return reject(dispatch, :REJECT_REASON_UNKNOWN_JOB_TYPE) unless handler
    return reject(dispatch, :REJECT_REASON_NO_CAPACITY) if running >= @slots
    return reject(dispatch, :REJECT_REASON_STALE) if clock >= start_before
    accepted = Pb::DispatchAccepted.new(phase: :ATTEMPT_PHASE_RUNNING)
    say(dispatch_reply: Pb::DispatchReply.new(attempt: dispatch.attempt, accepted: accepted))
    max_output = stream.welcome.limits.max_inline_payload_bytes
    @held[key(dispatch.attempt)] = Attempt.new(dispatch, handler, max_output, self)
  end

  def reject(dispatch, reason)
    rejected = Pb::DispatchRejected.new(reason: reason)
    say(dispatch_reply: Pb::DispatchReply.new(attempt: dispatch.attempt, rejected: rejected))
  end

  def follow(directives)
    directives.each do |directive|
      case directive.directive
      when :cancel then @held[key(directive.attempt)]&.stop(true)
      when :abandon then abandon(directive.attempt)
      end
    end
  end

  def cancelled(ref)
    attempt = @held[key(ref)]
    attempt&.stop(true)
    stopping = attempt&.phase == :ATTEMPT_PHASE_CANCELLING
    disposition = stopping ? :CANCEL_DISPOSITION_CANCELLING : :CANCEL_DISPOSITION_NOT_RUNNING
    say(cancel_reply: Pb::CancelReply.new(attempt: ref, disposition: disposition))
  end

  def abandon(ref)
    @held.delete(key(ref))&.abandon
    settle
  end

  def asked_to_drain(stream, drain)
    case drain.mode
    when :SERVER_DRAIN_MODE_RECONNECT
      @dial_at ||= clock + seconds(drain.reconnect_delay) if stream == @newest
    when :SERVER_DRAIN_MODE_QUIESCE then @draining = true
    when :SERVER_DRAIN_MODE_TERMINATE then leave
    end
  end

  # Forgets what is over, its log stored and its result acknowledged; leaves where that was the last.
  def settle
    @held.reject! { |_, attempt| attempt.acknowledged && attempt.lines.empty? }
    @session&.half_close if @leaving && @held.empty?
  end

  def key(ref) = [ref.run_id, ref.attempt]
end
