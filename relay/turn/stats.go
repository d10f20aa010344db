package turn

// Drop is why a message got no answer.
type Drop uint8

// The reasons.
const (
	DropMalformed  Drop = iota // not a STUN message, lying lengths, a wrong fingerprint
	DropIndication             // an indication that is not for a server
	DropResponse               // a response, though we send no requests
	DropMethod                 // a method that is not known (RFC 8489 section 6.3.1)
	DropBudget                 // a reply to somebody unproven, over the budget of that network
	drops
)

// String returns the name that metrics use.
func (d Drop) String() string {
	return [drops]string{"malformed", "indication", "response", "method", "reply_budget"}[d]
}

// Drops returns every reason.
func Drops() []Drop {
	return []Drop{DropMalformed, DropIndication, DropResponse, DropMethod, DropBudget}
}

// Refused is why a request with credentials got 401.
type Refused uint8

// The reasons.
const (
	RefusedUser      Refused = iota // nobody of that name
	RefusedIntegrity                // a wrong password, or a message changed on its way
	RefusedExpired                  // a time-limited credential after its time
	refusals
)

// String returns the name that metrics use.
func (r Refused) String() string { return [refusals]string{"user", "integrity", "expired"}[r] }

// Refusals returns every reason.
func Refusals() []Refused { return []Refused{RefusedUser, RefusedIntegrity, RefusedExpired} }

// Methods returns the methods that requests are counted by.
func Methods() []Method {
	return []Method{
		MethodBinding, MethodAllocate, MethodRefresh, MethodCreatePermission, MethodChannelBind, MethodConnect,
		MethodConnectionBind,
	}
}

// Codes are the error codes that are counted, in order.
func Codes() []int {
	return []int{300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508}
}

// codesCounted is the length of Codes.
const codesCounted = 17

// Stats counts what a machine did since it was made.
type Stats struct {
	Requests  [16]uint64           // by method
	Errors    [codesCounted]uint64 // by position in Codes
	Drops     [drops]uint64
	Refused   [refusals]uint64
	Successes uint64 // success responses, but for Binding
	Expired   uint64 // allocations that ended with their lifetime or their credential
}

// Add adds another machine's counters.
func (s *Stats) Add(o Stats) {
	for i := range s.Requests {
		s.Requests[i] += o.Requests[i]
	}
	for i := range s.Errors {
		s.Errors[i] += o.Errors[i]
	}
	for i := range s.Drops {
		s.Drops[i] += o.Drops[i]
	}
	for i := range s.Refused {
		s.Refused[i] += o.Refused[i]
	}
	s.Successes += o.Successes
	s.Expired += o.Expired
}

// Stats returns a copy of the counters.
func (m *Machine) Stats() Stats { return m.stats }

func (m *Machine) drop(d Drop) { m.stats.Drops[d]++ }

func (s *Stats) request(method Method) {
	if int(method) < len(s.Requests) {
		s.Requests[method]++
	}
}

func (s *Stats) reply(code int) {
	for i, c := range [codesCounted]int{300, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 500, 508} {
		if c == code {
			s.Errors[i]++
			return
		}
	}
}
