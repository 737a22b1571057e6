# Submits a run, prints its log as it comes and its output in the end: `client.rb TYPE [INPUT]`, the input as JSON.
#
# It may be interrupted by a server that goes away: the run is made once, by its request id, and the log goes on where it was.

require "mainspring/scheduler/v1/scheduler_service_services_pb"
require "securerandom"
require_relative "server"

Scheduler = Mainspring::Scheduler::V1
$stdout.sync = true
# What waits in the library does not see a signal that Ruby catches, so that the system is to act on it.
%w[TERM INT].each { |signal| trap(signal, "SYSTEM_DEFAULT") }

# Again and again while the server is away.
def patiently
  yield
rescue GRPC::Unavailable
  sleep 0.5
  retry
end

# The JSON of an output, which comes in either of two shapes.
def text(payload) = payload&.json ? payload.json.to_json : payload&.inline.to_s

scheduler = connect(Scheduler::SchedulerService)
job_type, input = ARGV[0], ARGV.fetch(1, "null")
payload = Mainspring::Common::V1::Payload.new(content_type: "application/json", inline: input.b)
submission = Scheduler::RunSubmission.new(job_type: job_type, payload: payload, request_id: SecureRandom.uuid)
request = Scheduler::SubmitRunRequest.new(run: submission)
run = patiently { scheduler.submit_run(request, metadata: METADATA) }.run
puts "run #{run.run_id}"

after, over = nil, nil
patiently do
  scheduler.tail_logs(Scheduler::TailLogsRequest.new(run_id: run.run_id, after: after), metadata: METADATA).each do |answer|
    answer.entries.each do |line|
      puts line.message
      after = Scheduler::LogPosition.new(attempt: line.attempt, offset: line.offset)
    end
    over = answer.run || over
  end
end
said = [text(over.output), over.failure&.message.to_s, over.reason].find { |words| !words.empty? }
puts "#{over.state} #{said}"
exit(over.state == :RUN_STATE_SUCCEEDED)
