# One stream of a worker, from its Hello to its end. A thread listens; what it hears goes to the worker's own thread.

class Stream
  attr_reader :welcome, :sent

  def initialize(worker, hello)
    @worker, @outgoing = worker, Queue.new
    @sent = { 0 => clock } # when Hello, which counts as 0, and each heartbeat went out
    @heard, @patience = clock, 10
    say(hello: hello)
    messages = Enumerator.new { |on| while (message = @outgoing.pop) do on << message end }
    @call = connect(Mainspring::Worker::V1::WorkerService).worker_stream(messages, metadata: METADATA, return_op: true)
    Thread.new { listen }
  end

  def say(**message) = @outgoing << Pb::WorkerStreamRequest.new(**message)

  def half_close = @outgoing << nil

  def welcomed(welcome)
    @welcome, @patience = welcome, seconds(welcome.silence_timeout)
    plan_beat
  end

  def heard_something = @heard = clock

  def tick
    @call.cancel if clock - @heard > @patience
    return unless @beat_at && clock >= @beat_at
    sequence = @sent.keys.last + 1
    @sent[sequence] = clock
    @sent.delete(sequence - 100)
    say(heartbeat: @worker.heartbeat(sequence))
    plan_beat
  end

  private

  def plan_beat = @beat_at = clock + seconds(@welcome.heartbeat_interval) * rand(0.9..1.1)

  def listen
    @call.execute.each { |message| @worker.post { @worker.heard(self, message) } }
    @worker.post { @worker.ended(self, "in order") }
  rescue StandardError => e
    @worker.post { @worker.ended(self, e.message) }
  ensure
    half_close # or the thread that writes would wait for ever
  end
end
