package transport

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// errNoHeadEnd: RFC 3261 7 has an empty line after the header fields, with or
// without a body.
var errNoHeadEnd = errors.New("the header fields do not end")

// parse makes a message of the bytes of one: a frame of a stream, or a datagram.
func (l *Layer) parse(b []byte, f Flow) (sip.Message, error) {
	head := headOf(b)
	if !bytes.HasSuffix(head, crlfCRLF) {
		return nil, errNoHeadEnd
	}
	_, length, err := inspect(head)
	if err != nil {
		return nil, err
	}
	msg, err := l.parser.ParseSIP(b)
	if err != nil {
		return nil, err
	}
	if length >= 0 && len(msg.Body()) != length {
		// Two readings of one head: whoever is right, it was made to have two.
		return nil, errors.New("Content-Length is unclear")
	}
	msg.SetTransport(strings.ToUpper(f.Network))
	msg.SetSource(f.Remote.String())
	switch msg := msg.(type) {
	case *sip.Request:
		if via := msg.Via(); via != nil {
			stamp(via, f.Remote)
		}
	case *sip.Response:
		if msg.StatusCode < 100 || msg.StatusCode > 699 {
			return nil, fmt.Errorf("status code %d", msg.StatusCode)
		}
	}
	return msg, nil
}

// headOf is the head of a datagram, with its empty line if it has one.
func headOf(b []byte) []byte {
	if end := bytes.Index(b, crlfCRLF); end >= 0 {
		return b[:end+len(crlfCRLF)]
	}
	return b
}

// stamp notes in a request's Via where it came from (RFC 3261 18.2.1, RFC 3581
// 4), in place of what the sender says of it.
func stamp(via *sip.ViaHeader, remote netip.AddrPort) {
	kept := via.Params[:0]
	for _, p := range via.Params {
		switch {
		case strings.EqualFold(p.K, "received"):
			continue
		case strings.EqualFold(p.K, "rport"):
			p.V = strconv.Itoa(int(remote.Port()))
		}
		kept = append(kept, p)
	}
	via.Params = kept
	via.Params.Add("received", remote.Addr().WithZone("").String())
}

// defaultPort is where a response over udp goes when the sender's Via names no
// port (RFC 3261 18.2.2).
const defaultPort = 5060

// Reply is the flow on which the response to a received request goes (RFC 3261
// 18.2.2, RFC 3581 4): the one it came on; over udp without rport, the port of
// the sender's Via at the address it came from. maddr is not followed: a
// response goes to where the request came from and to nobody else.
func Reply(req *sip.Request, f Flow) Flow {
	via := req.Via()
	if f.Network != "udp" || via == nil {
		return f
	}
	for _, p := range via.Params {
		if strings.EqualFold(p.K, "rport") {
			return f
		}
	}
	return replyPort(f, via.Port)
}

func replyPort(f Flow, port int) Flow {
	if port <= 0 || port > 65535 {
		port = defaultPort
	}
	f.Remote = netip.AddrPortFrom(f.Remote.Addr(), uint16(port))
	return f
}
