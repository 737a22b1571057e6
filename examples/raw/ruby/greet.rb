# A worker that greets whom it is told to, after as many seconds as it is told to.

require_relative "worker"

$stdout.sync = true

greet = lambda do |job, attempt|
  puts "greet #{job["name"]}"
  attempt.log("greeting #{job["name"]}")
  attempt.wait(job.fetch("seconds", 0))
  "hello, #{job["name"]}"
end

Worker.new("greet-ruby", { "greet" => greet }, 4).run
