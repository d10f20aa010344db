package sip

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Methods that this user agent serves; the value of Allow.
var allowedMethods = []string{"INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "PRACK", "INFO"}

var allowValue = strings.Join(allowedMethods, ", ")

// knownMethods have a definition in an RFC but are not served: they get 405;
// anything else gets 501 (RFC 3261 8.2.1 and 21.5.2).
var knownMethods = map[sip.RequestMethod]bool{
	"REGISTER": true, "SUBSCRIBE": true, "NOTIFY": true, "REFER": true, "MESSAGE": true, "PUBLISH": true,
}

// Failure is a final response that is not a success, made here or carried
// across from the other side.
type Failure struct {
	Code    int    // 300-699
	Phrase  string // reason phrase; "" takes the one of RFC 3261
	Warning string // text of a Warning header, code 399 (RFC 3261 20.43); "" sends none
	Reason  string // Reason header value (RFC 3326); "" sends none
	// Headers are further headers the code calls for: Unsupported, Accept,
	// Retry-After.
	Headers []Header
	// Local is true when no peer sent this: timeouts, transport errors, our
	// own refusals.
	Local bool

	own bool // local, and no fault of the peer's
}

// Header is a name and a value.
type Header struct{ Name, Value string }

func (f *Failure) Error() string { return fmt.Sprintf("%d %s", f.Code, f.PhraseText()) }

// PhraseText is the reason phrase that is sent.
func (f *Failure) PhraseText() string {
	if f.Phrase != "" {
		return f.Phrase
	}
	return phraseOf(f.Code)
}

// phrases are the default reason phrases (RFC 3261 21, RFC 4028 6).
var phrases = map[int]string{
	100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 182: "Queued", 183: "Session Progress", 200: "OK",
	400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
	405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
	410: "Gone", 413: "Request Entity Too Large", 414: "Request-URI Too Long", 415: "Unsupported Media Type",
	416: "Unsupported URI Scheme", 420: "Bad Extension", 421: "Extension Required", 422: "Session Interval Too Small",
	423: "Interval Too Brief", 480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist",
	482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 485: "Ambiguous", 486: "Busy Here",
	487: "Request Terminated", 488: "Not Acceptable Here", 491: "Request Pending", 493: "Undecipherable",
	500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
	504: "Server Time-out", 505: "Version Not Supported", 513: "Message Too Large",
	600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere", 606: "Not Acceptable",
}

func phraseOf(code int) string {
	if p, ok := phrases[code]; ok {
		return p
	}
	switch code / 100 {
	case 1:
		return "Session Progress"
	case 3:
		return "Redirection"
	case 4:
		return "Request Failure"
	case 5:
		return "Server Failure"
	default:
		return "Global Failure"
	}
}

// validate is RFC 3261 8.2 in its order, for every request in or outside a
// dialog whose form has been checked. It returns nil when the request can be
// served.
func validate(req *sip.Request) *Failure {
	if !methodAllowed(req.Method) {
		f := &Failure{Code: 501, Local: true, Headers: []Header{{"Allow", allowValue}}}
		if knownMethods[req.Method] {
			f.Code = 405
		}
		return f
	}
	switch req.Recipient.Scheme {
	case "sip", "sips", "tel":
	default:
		return &Failure{Code: 416, Local: true}
	}
	if mf := req.MaxForwards(); mf != nil && mf.Val() == 0 && req.Method == sip.INVITE {
		return &Failure{Code: 483, Local: true}
	}
	if req.Method == sip.ACK || req.Method == sip.CANCEL {
		return nil // RFC 3261 8.2.2.3: Require is ignored in these
	}
	var unknown []string
	for _, tag := range tokens(req, "Require") {
		if len(unknown) == maxRepeated {
			break
		}
		if !strings.EqualFold(tag, "timer") && !strings.EqualFold(tag, "100rel") {
			unknown = append(unknown, tag)
		}
	}
	if len(unknown) > 0 {
		return &Failure{Code: 420, Local: true, Headers: []Header{{"Unsupported", strings.Join(unknown, ", ")}}}
	}
	return checkBody(req)
}

// maxRepeated bounds the option tags that a 420 repeats.
const maxRepeated = 16

// checkForm is what must be there before a header can be trusted at all.
func checkForm(req *sip.Request) *Failure {
	bad := func(why string) *Failure { return &Failure{Code: 400, Warning: why, Local: true} }
	if !strings.EqualFold(req.SipVersion, "SIP/2.0") {
		return &Failure{Code: 505, Local: true}
	}
	for _, name := range []string{"From", "To", "Call-ID", "CSeq"} {
		switch n := len(req.GetHeaders(name)); {
		case n == 0:
			return bad("missing " + name + " header")
		case n > 1:
			return bad("more than one " + name + " header")
		}
	}
	if len(req.GetHeaders("Content-Length")) > 1 {
		// Where the message ends is anybody's guess, and a guess that differs
		// from the next hop's hides a second message in this one.
		return bad("more than one Content-Length header")
	}
	if req.Via() == nil {
		return bad("missing Via header")
	}
	from, to, cseq := req.From(), req.To(), req.CSeq()
	if from == nil || to == nil || cseq == nil || req.CallID() == nil {
		return bad("unreadable From, To, Call-ID or CSeq header")
	}
	if tag, ok := from.Params.Get("tag"); !ok || tag == "" {
		return bad("From header has no tag")
	}
	if cseq.MethodName != req.Method {
		return bad("CSeq method is not the request's method")
	}
	if slices.ContainsFunc([]string{req.Recipient.String(), from.Value(), to.Value(), req.CallID().Value()}, hasControl) {
		return bad("control character in a header")
	}
	if strings.ContainsAny(req.Recipient.String(), "<> ") {
		return bad("Request-URI is enclosed in brackets or has spaces")
	}
	if strings.ContainsAny(from.Address.String()+to.Address.String(), "<>\" ") {
		return bad("From or To URI has a bracket, a quote or a space")
	}
	if len(req.Recipient.Headers) > 0 {
		return bad("Request-URI has headers") // RFC 3261 19.1.1, table 1
	}
	return nil
}

// checkBody refuses a body that is no session description where one belongs.
func checkBody(req *sip.Request) *Failure {
	if len(req.Body()) == 0 || req.Method != sip.INVITE && req.Method != "UPDATE" && req.Method != "PRACK" {
		return nil
	}
	encoding := headerValue(req, "Content-Encoding")
	if mediaType(req) != "application/sdp" || encoding != "" && !strings.EqualFold(encoding, "identity") {
		return &Failure{Code: 415, Local: true, Headers: []Header{{"Accept", "application/sdp"}, {"Accept-Encoding", "identity"}}}
	}
	return nil
}

func methodAllowed(m sip.RequestMethod) bool {
	return slices.Contains(allowedMethods, string(m))
}

// compact are the short names of headers that the parser leaves as they are
// (RFC 3261 7.3.3, RFC 4028 4 and others).
var compact = map[string]string{
	"Supported": "k", "Session-Expires": "x", "Content-Encoding": "e", "Content-Type": "c",
}

// headersOf are all headers of that name, in either form.
func headersOf(msg interface{ GetHeaders(string) []sip.Header }, name string) []sip.Header {
	out := msg.GetHeaders(name)
	if short := compact[name]; short != "" {
		out = slices.Concat(out, msg.GetHeaders(short))
	}
	return out
}

// headerValue is a header's value, "" when absent or unfit to be carried on.
func headerValue(msg interface{ GetHeaders(string) []sip.Header }, name string) string {
	hs := headersOf(msg, name)
	if len(hs) == 0 || hasControl(hs[0].Value()) {
		return ""
	}
	return hs[0].Value()
}

// tokens are the comma-separated tokens of all headers of that name.
func tokens(msg sip.Message, name string) []string {
	var out []string
	for _, h := range headersOf(msg, name) {
		for t := range strings.SplitSeq(h.Value(), ",") {
			if t = strings.TrimSpace(t); t != "" {
				out = append(out, t)
			}
		}
	}
	return out
}

// hasControl finds what must never be copied into another message: a bare CR
// or LF ends a header for a lenient reader.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}
