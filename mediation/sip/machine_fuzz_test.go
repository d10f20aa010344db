package sip

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// FuzzSession walks a session by the fuzzer's choices: each byte is one draw of
// the model's. When they are used up the session is ended.
func FuzzSession(f *testing.F) {
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) { walkBytes(t, data, false) })
}

// FuzzWildSession does the same with messages that have a line changed, left out
// or written twice. The oracle does not know what is right then; but nothing
// panics, time passes, and the session ends and leaves nothing.
func FuzzWildSession(f *testing.F) {
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, data []byte) { walkBytes(t, data, true) })
}

func walkBytes(t *testing.T, data []byte, wild bool) {
	if len(data) > 300 {
		return
	}
	choose := func(n int, _ string) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
	checkSession(t, choose, func() bool { return len(data) > 0 }, wild)
}

// nonsense is what a header may say.
var nonsense = []string{
	"", "x", "0", "-1", "4294967296", "99999999999999999999", "1 1 INVITE", "1 INVITE", "2147483648", "100rel, timer, 100rel",
	"<sip:>", "<sip:a@127.0.0.1>;tag=p", "<sip:a@127.0.0.1>;tag=a;tag=b", "<sip:a@127.0.0.1;lr>, <sip:b@127.0.0.1;lr>", "*",
	"<tel:+1>", "60", "1;refresher=uas", "90;refresher=", "application/sdp; x=y", "APPLICATION/SDP", "multipart/mixed;boundary=x",
	"INVITE,,ACK,", "SIP ;cause=200", "Digest realm=\"r\", nonce=\"\"", "SIP/2.0/UDP 127.0.0.2;branch=z9hG4bKp1",
}

// headersSpoiled are those that a session reads.
var headersSpoiled = []string{
	"Contact", "Record-Route", "Require", "Supported", "Allow", "RSeq", "RAck", "Session-Expires", "Min-SE", "Retry-After",
	"Content-Type", "Reason", "To", "From", "CSeq", "Via", "WWW-Authenticate", "Proxy-Authenticate", "Max-Forwards", "Content-Length",
}

// spoil changes nothing, or one line of a message.
func (run *modelRun) spoil(text string) string {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	i := 1 + run.choose(len(lines)-1, "line")
	switch run.choose(6, "spoil") {
	case 2:
		lines = append(lines[:i], lines[i+1:]...)
	case 3:
		lines = append(lines, lines[i])
	case 4:
		name, _, _ := strings.Cut(lines[i], ":")
		lines[i] = name + ": " + nonsense[run.choose(len(nonsense), "nonsense")]
	case 5:
		lines = append(lines, headersSpoiled[run.choose(len(headersSpoiled), "header")]+": "+nonsense[run.choose(len(nonsense), "nonsense")])
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n" + body
}

// wellFormed is what Endpoint lets through to a session.
func wellFormed(msg sip.Message) bool {
	if req, ok := msg.(*sip.Request); ok {
		return checkForm(req) == nil && validate(req) == nil
	}
	return msg.Via() != nil && msg.From() != nil && msg.To() != nil && msg.CallID() != nil && msg.CSeq() != nil &&
		msg.(*sip.Response).StatusCode >= 100 && msg.(*sip.Response).StatusCode < 700
}
