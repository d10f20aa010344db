package stream

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// clientHelloDatagram is a ClientHello of DTLS 1.2, first or with a cookie.
func clientHelloDatagram(sequence uint16, cookie []byte) []byte {
	body := append([]byte{0xfe, 0xfd}, make([]byte, 32)...)
	body = append(body, 0, byte(len(cookie)))
	body = append(body, cookie...)
	body = append(body, 0, 2, 0xc0, 0x2b, 1, 0, // ECDHE-ECDSA with AES-128-GCM, no compression
		0, 26, // extensions:
		0, 0x17, 0, 0, // extended master secret
		0, 0x0a, 0, 4, 0, 2, 0, 0x17, // P-256
		0, 0x0b, 0, 2, 1, 0, // uncompressed points
		0, 0x0d, 0, 4, 0, 2, 4, 3) // ECDSA with SHA-256
	return handshakeRecord(clientHello, sequence, 0, body)
}

func handshakeRecord(kind byte, sequence uint16, offset int, body []byte) []byte {
	h := make([]byte, recordHeader+handshakeHeader, recordHeader+handshakeHeader+len(body))
	h[0], h[1], h[2] = recordHandshake, 0xfe, 0xfd
	binary.BigEndian.PutUint16(h[9:], sequence) // the low bits of the record's sequence number
	binary.BigEndian.PutUint16(h[11:], uint16(handshakeHeader+len(body)))
	h[13] = kind
	h[16] = byte(len(body) + offset)
	binary.BigEndian.PutUint16(h[17:], sequence)
	h[21] = byte(offset)
	h[24] = byte(len(body))
	return append(h, body...)
}

func TestRecordFilter(t *testing.T) {
	cookie := []byte("twenty bytes of this")
	request := handshakeRecord(helloVerifyRequest, 0, 0, append([]byte{0xfe, 0xfd, byte(len(cookie))}, cookie...))
	first, second := clientHelloDatagram(0, nil), clientHelloDatagram(1, cookie)
	data := func(kind byte, epoch uint16) []byte {
		return []byte{kind, 0xfe, 0xfd, byte(epoch >> 8), byte(epoch), 0, 0, 0, 0, 0, 1, 0, 2, 1, 2}
	}
	exchange := handshakeRecord(16, 2, 0, make([]byte, 20))
	for _, c := range []struct {
		name        string
		steps       [][]byte // nil: the listener sends its cookie
		established bool
		last        []byte
		want        Drop
		ok          bool
	}{
		{"first hello", nil, false, first, 0, true},
		{"again", [][]byte{first, nil}, false, first, 0, true},
		{"its second fragment", [][]byte{first}, false, handshakeRecord(clientHello, 0, 30, make([]byte, 5)), 0, true},
		{"with the cookie", [][]byte{first, nil}, false, second, 0, true},
		{"before there is one", [][]byte{first}, false, second, BadCookie, false},
		{"a shorter cookie", [][]byte{first, nil}, false, clientHelloDatagram(1, cookie[:19]), BadCookie, false},
		{"no cookie", [][]byte{first, nil}, false, clientHelloDatagram(1, nil), BadCookie, false},
		{"cut in the random bytes", [][]byte{first, nil}, false, handshakeRecord(clientHello, 1, 0, make([]byte, 20)), BadCookie, false},
		{"cut before the cookie", [][]byte{first, nil}, false, handshakeRecord(clientHello, 1, 0, make([]byte, 35)), BadCookie, false},
		{"cut in the cookie", [][]byte{first, nil}, false, handshakeRecord(clientHello, 1, 0, append(make([]byte, 35), 9, 1)), BadCookie, false},
		{"session beyond the end", [][]byte{first, nil}, false, handshakeRecord(clientHello, 1, 0, append(make([]byte, 34), 200)), BadCookie, false},
		{"a later fragment", [][]byte{first, nil}, false, handshakeRecord(clientHello, 1, 40, make([]byte, 5)), BadCookie, false},
		{"key exchange without the cookie", [][]byte{first, nil}, false, exchange, NotDTLS, false},
		{"key exchange", [][]byte{first, nil, second}, false, exchange, 0, true},
		{"encrypted", [][]byte{first, nil, second}, true, data(23, 1), 0, true},
		{"data without keys", [][]byte{first, nil, second}, true, data(23, 0), NotDTLS, false},
		{"two records", [][]byte{first, nil, second}, true, append(data(23, 1), data(22, 1)...), 0, true},
		{"and a half", [][]byte{first, nil, second}, true, append(data(23, 1), 22), NotDTLS, false},
		{"too long a record", [][]byte{first, nil, second}, true, data(23, 1)[:14], NotDTLS, false},
		{"another version", [][]byte{first, nil, second}, true, []byte{23, 3, 3, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0}, NotDTLS, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f recordFilter
			for _, b := range c.steps {
				if b == nil {
					f.sent(request)
				} else if _, ok := f.pass(b); !ok {
					t.Fatalf("%x does not pass", b)
				}
			}
			f.established = c.established
			before := f.handshake
			drop, ok := f.pass(c.last)
			if drop != c.want || ok != c.ok {
				t.Errorf("%s, passed %v; want %s, %v", drop, ok, c.want, c.ok)
			}
			if c.established && c.last[0] == 23 && len(c.last) == 15 && f.handshake != before {
				t.Error("data is counted to the handshake")
			}
		})
	}
}

// The filter sees what anybody sends: it must not fail on it, and must let nothing through unproven but hellos.
func FuzzRecordFilter(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		filter := recordFilter{cookie: []byte("cookie")}
		_, ok := filter.pass(b)
		if ok && len(b) > 0 && !filter.proven {
			for rest := b; len(rest) > 0; {
				var r record
				r, rest, _ = nextRecord(rest)
				if h, hello := parseHello(r); !hello || h.sequence != 0 {
					t.Fatalf("%x passed without the cookie", b)
				}
			}
		}
		if filter.proven && !bytes.Contains(b, []byte("cookie")) {
			t.Fatalf("%x has no cookie", b)
		}
		filter.sent(b)
		if beginsHandshake(b) && len(b) < recordHeader+handshakeHeader {
			t.Fatalf("%x begins a handshake", b)
		}
	})
}
