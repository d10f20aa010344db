package stream

import "sync/atomic"

// DataCounters is what happened to the peer connections of TCP allocations since the table was made.
type DataCounters struct {
	Pending, Active, Allocations int // right now: on their way or waiting; joined with a client; TCP allocations

	Dialed       uint64 // connections made to peers
	DialFailed   uint64 // and not made: refused, unreachable, too late, or no longer wanted
	Accepted     uint64 // peers' connections let in
	Forbidden    uint64 // and turned away for want of a permission
	Refused      uint64 // connections of either kind refused by a bound of DataLimits
	Unclaimed    uint64 // closed because no ConnectionBind came in time
	Bound        uint64 // claimed by their clients
	Idle         uint64 // data connections ended by their idle time
	AcceptErrors uint64 // failures of accept, such as EMFILE
	BytesUp      uint64 // from clients to peers
	BytesDown    uint64 // from peers to clients
}

type dataTally struct {
	dialed, dialFailed, accepted, forbidden, refused, unclaimed, bound, idle, acceptErrors, up, down atomic.Uint64

	active atomic.Int64
}

// Counters returns what has happened so far.
func (t *Connections) Counters() DataCounters {
	t.mu.Lock()
	pending, allocations := t.pending, len(t.allocations)
	t.mu.Unlock()
	return DataCounters{
		Pending: pending, Active: int(t.tally.active.Load()), Allocations: allocations,
		Dialed: t.tally.dialed.Load(), DialFailed: t.tally.dialFailed.Load(),
		Accepted: t.tally.accepted.Load(), Forbidden: t.tally.forbidden.Load(),
		Refused: t.tally.refused.Load(), Unclaimed: t.tally.unclaimed.Load(),
		Bound: t.tally.bound.Load(), Idle: t.tally.idle.Load(), AcceptErrors: t.tally.acceptErrors.Load(),
		BytesUp: t.tally.up.Load(), BytesDown: t.tally.down.Load(),
	}
}
