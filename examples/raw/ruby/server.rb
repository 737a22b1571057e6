# Where the server is and who calls: from the variables that every program of Mainspring reads.

ADDRESS = ENV.fetch("MAINSPRING_ADDRESS", "127.0.0.1:7420").delete_prefix("http://")
METADATA = { "authorization" => "Bearer #{ENV.fetch("MAINSPRING_API_KEY")}" }.freeze

# Makes a stub with a connection of its own: a new one may lead to another server. Without the option, stubs of one address
# share a connection, and the pause after its failure.
def connect(service)
  service::Stub.new(ADDRESS, :this_channel_is_insecure, channel_args: { "grpc.use_local_subchannel_pool" => 1 })
end
