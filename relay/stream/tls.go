package stream

import (
	"crypto/tls"
	"errors"
	"math"
	"net"
	"time"

	"github.com/pion/dtls/v3"

	"causeway/relay/turn"
)

// tlsHandshakeRecord is the first byte of a TLS connection: a record of the handshake (RFC 8446 section 5.1). STUN
// begins with 0 to 3 and ChannelData with 64 to 79 (RFC 7983 section 7), so one byte tells them apart.
const tlsHandshakeRecord = 0x16

// tlsHandshakeBytes is how much of a client's handshake is read, in bytes. The largest that are needed, with keys against
// quantum computers and a session ticket, have some 4 KiB; the library alone would keep 64.
const tlsHandshakeBytes = 16 << 10

// applicationProtocols are what a client may ask for by name (RFC 7443 section 3).
var applicationProtocols = []string{"stun.turn", "stun.nat-discovery"}

// tlsConfig returns what a TLS listener offers. A client that names no protocol is welcome.
func tlsConfig(cert *Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: applicationProtocols,
		// A frame in one record arrives whole; small ones for pages to appear sooner are of no use to media.
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return cert.Get(), nil
		},
	}
}

// dtlsCertificate is what a DTLS listener shows.
func (l *Listener) dtlsCertificate(*dtls.ClientHelloInfo) (*tls.Certificate, error) {
	return l.cert.Get(), nil
}

// startTLS makes a TLS connection of a TCP connection of which head was read.
func (c *Conn) startTLS(head []byte) Reason {
	c.transport = turn.TLS
	lower := c.socket
	again := &rewound{Conn: lower, head: head, left: tlsHandshakeBytes}
	upper := tls.Server(again, c.listener.tls)
	if err := lower.SetDeadline(time.Now().Add(c.listener.limits.Handshake)); err != nil {
		return ConnectionLost
	}
	if err := upper.Handshake(); err != nil {
		if r := readFailure(err, HandshakeTimeout); r == HandshakeTimeout {
			return r
		}
		return HandshakeFailed
	}
	if err := lower.SetDeadline(time.Time{}); err != nil {
		return ConnectionLost
	}
	again.left = math.MaxInt
	c.socket = upper
	return none
}

// rewound is a connection whose first bytes were read and are to be read again, and of which no more is read than is
// left.
type rewound struct {
	net.Conn
	head []byte
	left int
}

func (r *rewound) Read(b []byte) (int, error) {
	if len(r.head) > 0 {
		n := copy(b, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	if r.left <= 0 {
		return 0, errLongHandshake
	}
	n, err := r.Conn.Read(b)
	r.left -= n
	return n, err
}

var errLongHandshake = errors.New("handshake too long")
