package relay

// Fate is what became of a datagram or frame that was not relayed. Each one that is dropped has exactly one.
type Fate uint8

// The fates, by where they are met. Those of clients' packets are counted per listener, those of peers' packets per
// side of the relay ports.
const (
	Oversize       Fate = iota // longer than the relay takes, and never cut short
	NotTURN                    // neither STUN nor ChannelData, by its first byte
	BadSource                  // from port 0, where no answer can go
	BadChannelData             // ChannelData whose length lies
	NoAllocation               // ChannelData or Send from a client without an allocation
	NoChannel                  // ChannelData for a number that is not bound
	BadSend                    // a Send indication that lacks something or has too much
	NoPermission               // to or from a peer without a permission
	Policy                     // a peer's port that the policy denies
	NoFamily                   // to a peer of a family that the allocation has no address of
	HopLimit                   // a TTL or hop limit that is used up (RFC 8656 section 13)
	UserPackets                // over the user's packets a second
	UserBytes                  // over the user's bytes a second
	Bandwidth                  // over the bandwidth in all
	ClientQueue                // the queue to a stream client is full
	ClientGone                 // the client of a stream is not there
	TCPAllocation              // data in the manner of UDP for an allocation of RFC 6062
	WorkerQueue                // a client that moved, and too many before it wait for the worker that has its allocation
	fates
)

var fateNames = [fates]string{
	Oversize: "oversize", NotTURN: "not_turn", BadSource: "bad_source", BadChannelData: "bad_channel_data",
	NoAllocation: "no_allocation", NoChannel: "no_channel", BadSend: "bad_send", NoPermission: "no_permission",
	Policy: "policy", NoFamily: "no_family", HopLimit: "hop_limit", UserPackets: "user_packets", UserBytes: "user_bytes",
	Bandwidth: "bandwidth", ClientQueue: "client_queue", ClientGone: "client_gone", TCPAllocation: "tcp_allocation",
	WorkerQueue: "worker_queue",
}

// String returns the name that metrics use.
func (f Fate) String() string { return fateNames[f] }

// Fates counts packets by fate.
type Fates [fates]uint64

// add adds another worker's counts.
func (f *Fates) add(o *Fates) {
	for i := range f {
		f[i] += o[i]
	}
}
