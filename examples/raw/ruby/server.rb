# Where the server is and who calls: from the variables that every program of Mainspring reads.

require "securerandom"

ADDRESS = ENV.fetch("MAINSPRING_ADDRESS", "127.0.0.1:7420").delete_prefix("http://")
METADATA = { "authorization" => "Bearer #{ENV.fetch("MAINSPRING_API_KEY")}" }.freeze

# Makes a stub with a connection of its own: a new one may lead to another server. Without the option, stubs of one address
# share a connection, and the pause after its failure.
def connect(service)
  service::Stub.new(ADDRESS, :this_channel_is_insecure, channel_args: { "grpc.use_local_subchannel_pool" => 1 })
end

# What a worker calls itself, once per process. By hand: the library has it from Ruby 3.3 on.
def uuid7
  hex = format("%012x7%s", (Time.now.to_f * 1000).to_i, SecureRandom.hex(10)[0, 19])
  hex[16] = "89ab"[SecureRandom.random_number(4)]
  hex.sub(/(.{8})(.{4})(.{4})(.{4})(.{12}).*/, '\1-\2-\3-\4-\5')
end
