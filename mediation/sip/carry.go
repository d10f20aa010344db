package sip

import (
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
)

// Carry is what of a message of one side may be shown to the other, ready to
// be put into the message that continues it: the headers of docs/headers.md,
// which is held to the table carriedHeaders by a test. toGateway says which way
// it goes, peer and localHost are the next hop and our own host of the side
// that it goes to, n has the number rules and what must not be shown.
//
// msg is an INVITE, a BYE, a CANCEL, or a response to the first INVITE of a
// dialog; of every other message nothing is carried. What was received is read
// strictly and written anew: a value that its RFC's grammar does not make, or
// beyond its bounds, is left out and counted in n.Withheld, and ends no call.
//
// At most one Header of a name is returned, several values joined by commas.
// msg is not changed.
func Carry(msg sip.Message, toGateway bool, n Numbering, peer Hop, localHost string) []Header {
	return nil
}

// CarryPhrase is a response's reason phrase as it may be shown to the other
// side, and "" when it is not to be: it names an address, or has control
// characters.
func CarryPhrase(res *sip.Response, n Numbering) string {
	if hasControl(res.Reason) {
		return ""
	}
	return res.Reason
}

// TakeReason takes the Reason header out of what Carry returned: its value, for
// Bye, Cancel and Failure, and the other headers. headers is not changed.
func TakeReason(headers []Header) (reason string, rest []Header) {
	for _, h := range headers {
		if h.Name == "Reason" {
			reason = h.Value
		} else {
			rest = append(rest, h)
		}
	}
	return reason, rest
}

// WithheldReason is why something that a table line lets through was left out.
type WithheldReason uint8

// The reasons. Every one has a counter from the start.
const (
	WithheldMalformed WithheldReason = iota // not by its RFC's grammar
	WithheldTooMuch                         // longer, or more of them, than is carried
	WithheldAddress                         // names an address or a host
	withheldCount
)

var withheldNames = [withheldCount]string{
	WithheldMalformed: "malformed",
	WithheldTooMuch:   "too_much",
	WithheldAddress:   "address",
}

// String is the value of the metric label "reason".
func (r WithheldReason) String() string { return withheldNames[r] }

// Withheld counts what Carry and the identities left out, by reason. Its
// methods are safe for concurrent use, and for a nil receiver, which counts
// nothing.
type Withheld struct{ n [withheldCount]atomic.Uint64 }

func (w *Withheld) add(reason WithheldReason) {
	if w != nil {
		w.n[reason].Add(1)
	}
}

// Each calls f for every reason with its count so far.
func (w *Withheld) Each(f func(reason string, n uint64)) {
	for i := range withheldCount {
		var n uint64
		if w != nil {
			n = w.n[i].Load()
		}
		f(i.String(), n)
	}
}
