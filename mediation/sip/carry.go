package sip

import (
	"strings"
	"sync/atomic"

	"github.com/emiago/sipgo/sip"
)

// passage is a set of kinds of message that a header is carried in.
type passage uint8

const (
	inInvite   passage = 1 << iota // the first of a dialog
	inProgress                     // 101 to 199 to it
	inAnswer                       // 2xx to it
	inFailure                      // 300 to 699 to it
	inBye
	inCancel
)

// passageOf is the kind of msg, 0 for every other message.
func passageOf(msg sip.Message) passage {
	switch msg := msg.(type) {
	case *sip.Request:
		switch msg.Method {
		case sip.INVITE:
			if to := msg.To(); to == nil || !to.Params.Has("tag") {
				return inInvite
			}
		case sip.BYE:
			return inBye
		case sip.CANCEL:
			return inCancel
		}
	case *sip.Response:
		if cseq := msg.CSeq(); cseq == nil || cseq.MethodName != sip.INVITE {
			return 0
		}
		switch code := msg.StatusCode; {
		case code > 100 && code < 200:
			return inProgress
		case code >= 200 && code < 300:
			return inAnswer
		case code >= 300:
			return inFailure
		}
	}
	return 0
}

// carriedHeader is one line of the table: a header that crosses.
type carriedHeader struct {
	name   string
	rfc    string
	in     passage
	most   int    // values; what comes after the first so many is left out
	change string // what is changed, for docs/headers.md
	// rewrite makes of all values that came, joined by commas, what is shown.
	// more says that there were more than most; ok is false when the values are
	// not by the grammar.
	rewrite func(c *crossing, value string, most int) (shown []string, more, ok bool)
}

// carriedHeaders is the table: what is not in it stays on its side.
var carriedHeaders = []carriedHeader{
	{
		name: assertedIdentity, rfc: "3325 9.1, 5876", in: inInvite | inProgress | inAnswer, most: 2, rewrite: (*crossing).identities,
		change: "one sip and one tel URI at most; our host; number by `remove_plus_from_request_uri` or the location profile; display name scrubbed",
	},
	{
		name: "Privacy", rfc: "3323 4.2, 3325 9.3, 7044 10.1", in: inInvite | inProgress | inAnswer, most: 6, rewrite: (*crossing).privacy,
		change: "`header`, `session`, `user`, `none`, `critical`, `id`, `history`; others are left out",
	},
	{
		name: "Diversion", rfc: "5806", in: inInvite, most: 10, rewrite: (*crossing).diversions,
		change: "our host; number and display name as above; `reason`, `counter`, `limit`, `privacy`, `screen` are kept",
	},
	{
		name: "History-Info", rfc: "7044 5, 4244", in: inInvite | inProgress | inAnswer | inFailure, most: 20, rewrite: (*crossing).history,
		change: "our host; number and display name as above; `index`, `rc`, `mp`, `np`, the `cause` of RFC 4458, and embedded Reason and Privacy are kept",
	},
	{
		name: "Reason", rfc: "3326, 6432, 8606", in: inProgress | inFailure | inBye | inCancel, most: 4, rewrite: (*crossing).reasons,
		change: "protocols `Q.850` (cause 1 to 127) and `SIP` (200 to 699); `text` scrubbed; `location` is kept",
	},
	{
		name: "User-to-User", rfc: "7433", in: inInvite | inProgress | inAnswer | inFailure | inBye, most: 4, rewrite: (*crossing).userToUser,
		change: "`purpose`, `content`, `encoding` are kept; text scrubbed; 512 bytes of data at most",
	},
	{
		name: "P-Early-Media", rfc: "5009 8", in: inInvite | inProgress, most: 4, rewrite: (*crossing).earlyMedia,
		change: "the words of the RFC; others are left out",
	},
	{
		name: "Warning", rfc: "3261 20.43", in: inFailure, most: 4, rewrite: (*crossing).warnings,
		change: "our host as the agent; text scrubbed",
	},
	{
		name: "Retry-After", rfc: "3261 20.33", in: inFailure, most: 1, rewrite: (*crossing).retryAfter,
		change: "seconds and `duration`, without the comment",
	},
}

// maxCarried bounds the values of one header, in bytes, before they are read.
const maxCarried = 8192

// Carry is what of a message of one side may be shown to the other, ready to
// be put into the message that continues it: the headers of docs/headers.md,
// which is held to the table carriedHeaders by a test. toGateway says which way
// it goes, the Hop and localHost are the next hop, which nothing carried names
// today, and our own host on the side that it goes to; n has the number rules
// and what must not be shown.
//
// msg is an INVITE, a BYE, a CANCEL, or a response to the first INVITE of a
// dialog; of every other message nothing is carried. What was received is read
// strictly and written anew: a value that its RFC's grammar does not make, or
// beyond its bounds, is left out and counted in n.Withheld, and ends no call.
//
// At most one Header of a name is returned, several values joined by commas.
// msg is not changed.
func Carry(msg sip.Message, toGateway bool, n Numbering, _ Hop, localHost string) []Header {
	return n.crossing(msg, toGateway, localHost).carry(msg)
}

func (c *crossing) carry(msg sip.Message) []Header {
	kind := passageOf(msg)
	if kind == 0 {
		return nil
	}
	var out []Header
	for i := range carriedHeaders {
		line := &carriedHeaders[i]
		if line.in&kind == 0 {
			continue
		}
		headers := msg.GetHeaders(line.name)
		if len(headers) == 0 {
			continue
		}
		if value := c.value(line, headers); value != "" {
			out = append(out, Header{line.name, value})
		}
	}
	return out
}

// value is what of a header's values is shown, "" when nothing is.
func (c *crossing) value(line *carriedHeader, headers []sip.Header) string {
	values := make([]string, len(headers))
	size := 0
	for i, h := range headers {
		values[i] = h.Value()
		size += len(values[i])
	}
	if size > maxCarried {
		c.withhold(WithheldTooMuch)
		return ""
	}
	shown, more, ok := line.rewrite(c, strings.Join(values, ","), line.most)
	if !ok {
		c.withhold(WithheldMalformed)
		return ""
	}
	if more {
		c.withhold(WithheldTooMuch)
	}
	return strings.Join(shown, ", ")
}

// CarryPhrase is a response's reason phrase as it may be shown to the other
// side, and "" when it is not to be: it names an address or a host, or is no
// text.
func CarryPhrase(res *sip.Response, n Numbering) string {
	h := hiddenIn(res, n.Hide)
	shown, why, ok := h.phrase(res.Reason)
	if !ok {
		n.Withheld.add(why)
	}
	return shown
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
