package transport

import (
	"fmt"
	"strings"
	"testing"
)

// TestCostlyFields: the parser takes time by the square of the parameters of a
// header field, and of its folds; what has more of them than messages have is
// refused before, as one with too many header fields. Only CRLF ends a field
// (RFC 3261 7.3.1, 25.1): a bare LF hides nothing.
func TestCostlyFields(t *testing.T) {
	parts := func(sep string) string {
		var b strings.Builder
		for i := 0; i <= maxFieldParts; i++ {
			fmt.Fprintf(&b, "%s%x", sep, i)
		}
		return b.String()
	}
	with := func(old, more string) string { return strings.Replace(request(good, ""), old, old+more, 1) }
	for name, text := range map[string]string{
		"parameters of Via":     with("branch=z9hG4bKh", parts(";")),
		"parameters of From":    with(";tag=f", parts(";")),
		"parameters of a URI":   request("Contact: <sip:x@192.0.2.9"+parts(";")+">\r\n"+good, ""),
		"headers of a URI":      request("Contact: <sip:x@192.0.2.9?a=b"+parts("&")+">\r\n"+good, ""),
		"a URI to be answered":  with("sip:x@127.0.0.1", parts(";")),
		"option tags":           request("Require: a"+parts(",")+"\r\n"+good, ""),
		"folds":                 request("X: a"+parts("\r\n ")+"\r\n"+good, ""),
		"folds by tab":          request("X: a"+parts("\r\n\t")+"\r\n"+good, ""),
		"behind LF":             with(";tag=f", parts("\n;")),
		"behind LF and a space": with(";tag=f", parts("\n x;")),
		"behind CR":             with(";tag=f", parts("\r;")),
		"LF alone":              with(";tag=f", parts("\n")),
		"long":                  request("X: "+strings.Repeat("a", maxFieldBytes)+"\r\n"+good, ""),
	} {
		for _, network := range []string{"udp", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				s := open(t, network, nil)
				conn := dialFrom(t, network, "127.0.0.3", s.addr())
				write(t, conn, text)
				s.counted(t, DropHeaderCount, 1)
				write(t, conn, options(9))
				if r := s.next(t); r.msg.CallID().Value() != "c9" {
					t.Errorf("the parser had it: %.60q", r.msg)
				}
				if n := s.drops.Count(DropMalformed); n != 0 {
					t.Errorf("%d malformed", n)
				}
			})
		}
	}
}

// TestFieldsOfUse: the bounds are above what calls have.
func TestFieldsOfUse(t *testing.T) {
	s := open(t, "udp", nil)
	conn := dialFrom(t, "udp", "127.0.0.3", s.addr())
	for _, extra := range []string{
		"Record-Route: " + strings.Repeat("<sip:192.0.2.1;lr;ftag=abc;did=d.1>,", 40) + "<sip:a;lr>\r\n",
		"History-Info: " + strings.Repeat("<sip:1@192.0.2.1?Reason=SIP%3Bcause%3D302>;index=1.1, ", 50) + "<sip:a>;index=1\r\n",
		"Identity: " + strings.Repeat("x", 8000) + ";info=<https://a>;alg=ES256\r\n",
		"X: a" + strings.Repeat("\r\n b", 100) + "\r\n",
	} {
		write(t, conn, request(extra+good, ""))
		if r := s.next(t); r.msg.CallID().Value() != "h" {
			t.Errorf("%.60q", r.msg)
		}
	}
}
