package transaction

import "time"

// The estimates that all timers are made of (RFC 3261 17.1.1.1, 17.1.2.2, table 4).
const (
	// T1 is the estimate of a round trip.
	T1 = 500 * time.Millisecond
	// T2 is the longest interval between two sendings of a non-INVITE request
	// or of a response to INVITE.
	T2 = 4 * time.Second
	// T4 is how long a message may stay in the network.
	T4 = 5 * time.Second
)

// The timers of RFC 3261 table 4 and RFC 6026 8.4. C is a proxy's. On a
// reliable transport A, E and G do not run, and D, I, J and K are zero: the
// state they end is left as soon as it is entered.
const (
	TimerA = T1               // 17.1.1.2: INVITE sent again, doubling, in Calling
	TimerB = 64 * T1          // 17.1.1.2: no response at all to INVITE
	TimerD = 32 * time.Second // 17.1.1.2: failure sent again by the server, at least 32 s
	TimerE = T1               // 17.1.2.2: request sent again, doubling to T2
	TimerF = 64 * T1          // 17.1.2.2: no final response
	TimerG = T1               // 17.2.1: failure of INVITE sent again, doubling to T2
	TimerH = 64 * T1          // 17.2.1: no ACK to a failure
	TimerI = T4               // 17.2.1: ACK sent again by the client
	TimerJ = 64 * T1          // 17.2.2: request sent again by the client
	TimerK = T4               // 17.1.2.2: response sent again by the server
	TimerL = 64 * T1          // RFC 6026 8.7: INVITE sent again after a 2xx
	TimerM = 64 * T1          // RFC 6026 8.4: 2xx of this and of other forks
)

// State is where a transaction stands.
type State uint8

// The states of the four machines (RFC 3261 figures 5 to 8, RFC 6026 figures 3
// and 5).
const (
	Calling    State = iota // INVITE client: nothing came back yet
	Trying                  // non-INVITE, either role: nothing came back, nothing was answered
	Proceeding              // a provisional response came or went; where an INVITE server begins
	Accepted                // INVITE, either role: a 2xx came or went (RFC 6026)
	Completed               // final response came or went; of INVITE: a failure
	Confirmed               // INVITE server: the ACK to its failure came
	Terminated              // over: to be forgotten
)

var stateNames = [...]string{
	Calling: "calling", Trying: "trying", Proceeding: "proceeding", Accepted: "accepted",
	Completed: "completed", Confirmed: "confirmed", Terminated: "terminated",
}

// String is the state's name, in lower case.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// alarm is a timer: when it fires. The zero alarm does not run.
type alarm struct{ at time.Time }

func (a *alarm) set(now time.Time, after time.Duration) { a.at = now.Add(after) }
func (a *alarm) stop()                                  { a.at = time.Time{} }
func (a *alarm) due(now time.Time) bool                 { return !a.at.IsZero() && !now.Before(a.at) }

// earlier is the first of two alarms to fire; zero when neither runs.
func earlier(a, b alarm) time.Time {
	if a.at.IsZero() || (!b.at.IsZero() && b.at.Before(a.at)) {
		return b.at
	}
	return a.at
}
