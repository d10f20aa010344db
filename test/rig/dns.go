package rig

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is a name server on loopback UDP. Names are given without their last dot; their case does not matter. A name that
// was never set does not exist; one that has other records only has no data. Every change holds for the next question.
type DNS struct {
	conn net.PacketConn

	mu      sync.Mutex
	records map[string][]dnsmessage.ResourceBody
	failing map[string]dnsmessage.RCode
	asked   map[string]int
}

// SRV is one service record (RFC 2782).
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string
}

// NewDNS starts a name server; it ends with the test.
func NewDNS(t testing.TB) *DNS {
	t.Helper()
	conn, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", Port(t)))
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{conn: conn, records: map[string][]dnsmessage.ResourceBody{}, failing: map[string]dnsmessage.RCode{}, asked: map[string]int{}}
	var served sync.WaitGroup
	served.Go(d.serve)
	t.Cleanup(func() { conn.Close(); served.Wait() })
	return d
}

// Addr is where to ask.
func (d *DNS) Addr() netip.AddrPort { return netip.MustParseAddrPort(d.conn.LocalAddr().String()) }

// Host makes addrs, of either family, all that a name has. None: the name is there and has no data.
func (d *DNS) Host(name string, addrs ...string) {
	bodies := []dnsmessage.ResourceBody{}
	for _, a := range addrs {
		if addr := netip.MustParseAddr(a); addr.Is4() {
			bodies = append(bodies, &dnsmessage.AResource{A: addr.As4()})
		} else {
			bodies = append(bodies, &dnsmessage.AAAAResource{AAAA: addr.As16()})
		}
	}
	d.set(name, bodies)
}

// Service makes records all that a name, "_sip._udp.example.org" say, has.
func (d *DNS) Service(name string, records ...SRV) {
	bodies := []dnsmessage.ResourceBody{}
	for _, r := range records {
		target := dnsmessage.MustNewName(key(r.Target) + ".")
		bodies = append(bodies, &dnsmessage.SRVResource{Priority: r.Priority, Weight: r.Weight, Port: r.Port, Target: target})
	}
	d.set(name, bodies)
}

// Remove makes a name one that does not exist.
func (d *DNS) Remove(name string) { d.set(name, nil) }

// Fail answers every question for a name with code, dnsmessage.RCodeServerFailure say, until its records are set again.
func (d *DNS) Fail(name string, code dnsmessage.RCode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing[key(name)] = code
}

// Asked is how often a name was asked for, by any type.
func (d *DNS) Asked(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[key(name)]
}

func key(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

func (d *DNS) set(name string, bodies []dnsmessage.ResourceBody) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.failing, key(name))
	d.records[key(name)] = bodies
}

func (d *DNS) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := d.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		var m dnsmessage.Message
		if err != nil || m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if answer, err := d.answer(m.ID, m.Questions[0]); err == nil {
			_, _ = d.conn.WriteTo(answer, from)
		}
	}
}

func (d *DNS) answer(id uint16, q dnsmessage.Question) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := key(q.Name.String())
	d.asked[name]++
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, Response: true, Authoritative: true, RecursionAvailable: true},
		Questions: []dnsmessage.Question{q},
	}
	bodies, code := d.records[name], d.failing[name]
	switch {
	case code != dnsmessage.RCodeSuccess:
		m.RCode = code
	case bodies == nil:
		m.RCode = dnsmessage.RCodeNameError
	}
	for _, b := range bodies {
		if m.RCode == dnsmessage.RCodeSuccess && typeOf(b) == q.Type {
			h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 1}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: b})
		}
	}
	return m.Pack()
}

func typeOf(b dnsmessage.ResourceBody) dnsmessage.Type {
	switch b.(type) {
	case *dnsmessage.AResource:
		return dnsmessage.TypeA
	case *dnsmessage.AAAAResource:
		return dnsmessage.TypeAAAA
	}
	return dnsmessage.TypeSRV
}
