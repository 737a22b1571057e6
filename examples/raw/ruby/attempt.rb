# One attempt in a worker's hands: from its Dispatch until the server has its result and its log.

require "json"

# Raised in a handler, out of `wait`, once it is to stop.
class Stopped < StandardError; end

# User code runs in a thread of its own, and touches nothing but `log` and `wait`. All else is the worker's thread.
class Attempt
  attr_reader :ref, :phase, :must_not_overlap, :lines, :thread
  attr_accessor :acknowledged

  def initialize(dispatch, handler, max_output, worker)
    @ref, @max_output, @worker = dispatch.attempt, max_output, worker
    @must_not_overlap = dispatch.lease_loss_policy == :LEASE_LOSS_POLICY_STOP
    @phase, @lines, @stored, @stop = :ATTEMPT_PHASE_RUNNING, [], 0, Queue.new
    started = Time.now
    @thread = Thread.new do
      outcome = call(handler, dispatch.input&.inline.to_s)
      finished = Time.now
      worker.post { finish(outcome, started, finished) }
    end
  end

  # For handlers: a line of the run's log.
  def log(text)
    line = Pb::LogEntry.new(log_time: Time.now, level: :LOG_LEVEL_INFO, message: text[0, 4000])
    @worker.post do
      @lines << line
      offer_lines unless @offered
    end
  end

  # For handlers: lets time pass, unless the attempt is to stop.
  def wait(seconds)
    until_time = clock + seconds
    while clock < until_time
      raise Stopped unless @stop.empty?
      sleep([0.05, until_time - clock].min.clamp(0, 1))
    end
  end

  # Asked by the server it is reported as cancelled, else as interrupted; a result in spite of it counts.
  def stop(asked)
    return unless @phase == :ATTEMPT_PHASE_RUNNING
    @phase, @asked = :ATTEMPT_PHASE_CANCELLING, asked
    @stop << true
  end

  # It no longer counts, and its result would not.
  def abandon
    @abandoned = true
    @stop << true
  end

  # A new session knows what Hello listed, and nothing of what was said to the one before.
  def say_again
    say(result: @result) if @result && !@acknowledged
    offer_lines
  end

  # What is not stored yet, by its offset. The server drops what it has; its LogAck asks for the rest.
  def offer_lines
    @offered = !@lines.empty?
    say(log_batch: Pb::LogBatch.new(attempt: @ref, first_offset: @stored, entries: @lines.first(100))) if @offered
  end

  def lines_stored(next_offset)
    if next_offset > @stored
      @lines.shift(next_offset - @stored)
      @stored = next_offset
    end
    offer_lines
  end

  def status = Pb::AttemptStatus.new(attempt: @ref, phase: @phase, next_log_offset: @stored + @lines.size)

  private

  def call(handler, payload)
    output = JSON.generate(handler.call(payload.empty? ? nil : JSON.parse(payload), self))
    # A message too large to be read would end this stream, and the next.
    raise "the output has #{output.bytesize} bytes, too many" if output.bytesize > @max_output
    # `inline` is bytes: text that is not ASCII has to be told so.
    payload = Mainspring::Common::V1::Payload.new(content_type: "application/json", inline: output.b)
    { succeeded: Pb::AttemptSucceeded.new(output: payload) }
  rescue Stopped
    {}
  rescue StandardError => e
    failure = Mainspring::Common::V1::Failure.new(message: e.full_message(highlight: false)[0, 1000])
    { failed: Pb::AttemptFailed.new(failure: failure) }
  end

  def finish(outcome, started, finished)
    if outcome.empty?
      outcome = @asked ? { cancelled: Pb::AttemptCancelled.new } : { interrupted: Pb::AttemptInterrupted.new }
    end
    # Readers of the log wait for so many lines.
    lines = @stored + @lines.size
    times = { start_time: started, finish_time: finished, next_log_offset: lines }
    @result, @phase = Pb::AttemptResult.new(attempt: @ref, **outcome, **times), :ATTEMPT_PHASE_RESULT_PENDING
    say(result: @result)
  end

  def say(**message) = (@worker.say(**message) unless @abandoned)
end
