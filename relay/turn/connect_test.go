package turn

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"causeway/relay/auth"
)

// connected tells the machine the outcome of the oldest Dial and returns what its client is told.
func connected(t *testing.T, r *rig, c *client, number uint32, err error) answer {
	t.Helper()
	if len(r.dials) == 0 {
		t.Fatal("nothing is being dialled")
	}
	d := r.dials[0]
	r.dials = slices.Delete(r.dials, 0, 1)
	r.replies = nil
	r.do(r.m.Dialed(d.ID, d.Peer, number, err))
	if len(r.replies) != 1 || r.replies[0].to != c.source {
		t.Fatalf("%d replies", len(r.replies))
	}
	o, parseErr := readOracle(r.replies[0].b)
	if parseErr != nil {
		t.Fatal(parseErr)
	}
	a := answer{oracle: o, raw: r.replies[0].b}
	if v := a.value(AttrErrorCode); len(v) == 4 {
		a.code = int(v[2])*100 + int(v[3])
	}
	if !c.sealed(a) {
		t.Fatal("the answer to Connect is not sealed")
	}
	return a
}

// TestConnect: RFC 6062 section 5.2. No permission is needed; the answer is to the request, however late.
func TestConnect(t *testing.T) {
	r := newRig(t)
	c := r.alice(stream)
	c.must(0, MethodAllocate, tcp(), requestedFamily(familyIPv6))
	c.ask(MethodConnect, to(peer6))
	d := r.dials[0]
	if d.Peer != peer6 || d.ID != r.session(stream).id || d.User != "alice" {
		t.Errorf("dialled %+v", d)
	}
	c.must(0, MethodRefresh) // others are answered meanwhile
	r.client(home, "bob", "hunter2").allocate()
	if a := connected(t, r, c, 0xDEADBEEF, nil); a.code != 0 || binary.BigEndian.Uint32(a.value(AttrConnectionID)) != 0xDEADBEEF {
		t.Errorf("got %v: %x", a, a.raw)
	}
	r.do(r.m.Dialed(d.ID, d.Peer, 1, nil)) // which nobody asked for
	if len(r.replies) != 1 {
		t.Error("it was answered twice")
	}
	c.ask(MethodConnect, to(peer6))
	c.must(0, MethodRefresh, lifetime(0))
	r.replies = nil
	r.do(r.m.Dialed(d.ID, d.Peer, 1, nil))
	if len(r.replies) != 0 {
		t.Error("a connection was announced for an allocation that is gone")
	}
}

// TestConnectionAttempt: RFC 6062 section 5.3: peers with a permission alone get in, and the client is told.
func TestConnectionAttempt(t *testing.T) {
	r := newRig(t)
	c := r.alice(stream)
	c.must(0, MethodAllocate, tcp())
	id := r.session(stream).id
	if r.m.MayAccept(id, peer4) {
		t.Error("a peer without permission got in")
	}
	c.must(0, MethodCreatePermission, to(peer4))
	if !r.m.MayAccept(id, netip.AddrPortFrom(peer4.Addr(), 7)) || r.m.MayAccept(id, other4) || r.m.MayAccept(id+1, peer4) {
		t.Error("the permission is not what decides")
	}
	r.replies = nil
	r.do(r.m.Accepted(id, peer4, 0xABCD))
	if len(r.replies) != 1 || r.replies[0].to != stream {
		t.Fatalf("%d messages", len(r.replies))
	}
	o, err := readOracle(r.replies[0].b)
	if err != nil || o.method != int(MethodConnectionAttempt) || o.class != int(ClassIndication) || len(o.attrs) != 2 {
		t.Fatalf("the client was told %x", r.replies[0].b)
	}
	peer, number := o.attrs[0], o.attrs[1]
	if addr, _ := o.address(peer.value); peer.typ != AttrXORPeerAddress || addr != peer4 ||
		number.typ != AttrConnectionID || binary.BigEndian.Uint32(number.value) != 0xABCD {
		t.Errorf("the client was told %x", r.replies[0].b)
	}
	r.advance(300 * time.Second)
	if r.m.MayAccept(id, peer4) {
		t.Error("a peer got in after the end of its permission")
	}
	u := r.alice(home)
	u.allocate()
	u.must(0, MethodCreatePermission, to(peer4))
	if r.m.MayAccept(r.session(home).id, peer4) {
		t.Error("a UDP allocation accepts connections")
	}
	if len(r.m.Accepted(id+100, peer4, 1)) != 0 {
		t.Error("nobody was told of a connection")
	}
}

// TestConnectionBind: RFC 6062 section 5.4, on a connection of its own, from another port than the challenge went to.
// What is compared is the user, who may have a newer credential than the allocation's.
func TestConnectionBind(t *testing.T) {
	r := newRig(t, func(s *setup) { s.secrets = []string{"rest"} })
	old := auth.RestCredential("rest", "alice", began.Add(time.Minute))
	c := r.client(stream, old.Username, old.Password)
	c.must(0, MethodAllocate, tcp())
	c.ask(MethodConnect, to(peer4))
	owner := r.dials[0].User
	connected(t, r, c, 7, nil)
	r.advance(2 * time.Minute)

	fresh := auth.RestCredential("rest", "alice", began.Add(time.Hour))
	data := r.client(Source{Client: netip.AddrPortFrom(stream.Client.Addr(), 40001), Listener: 1, Transport: TCP}, fresh.Username, fresh.Password)
	data.realm, data.nonce = c.realm, c.nonce
	a := data.send(data.build(MethodConnectionBind, data.id(), connectionID(7)))
	if a.code != 0 || !data.sealed(a) {
		t.Fatalf("got %v", a)
	}
	if got := r.attached[0]; got.User != owner || got.Connection != 7 || got.To != data.source {
		t.Errorf("claimed %+v for the allocation of %q", got, owner)
	}
	if actions := r.m.Attached(true); len(actions) != 0 {
		t.Error("what was answered is answered again")
	}
}

// TestUnreachable: RFC 8656 section 11.5: which ICMP errors are told, and the ICMP attribute.
func TestUnreachable(t *testing.T) {
	tests := []struct {
		peer      netip.AddrPort
		typ, code uint8
		want      []byte // the ICMP attribute; nil: nothing is told
	}{
		{peer4, 3, 3, []byte{0, 0, 3 << 1, 3, 0, 0, 0, 0}},
		{peer4, 3, 4, []byte{0, 0, 3 << 1, 4, 0, 0, 0x05, 0x78}},
		{peer4, 3, 13, []byte{0, 0, 3 << 1, 13, 0, 0, 0, 0}},
		{peer4, 11, 0, []byte{0, 0, 11 << 1, 0, 0, 0, 0, 0}},
		{peer4, 0, 0, nil},
		{peer4, 1, 0, nil},
		{peer4, 2, 0, nil},
		{peer4, 4, 0, nil},
		{peer4, 5, 0, nil},
		{peer4, 12, 0, nil},
		{peer6, 1, 4, []byte{0, 0, 1 << 1, 4, 0, 0, 0, 0}},
		{peer6, 2, 0, []byte{0, 0, 2 << 1, 0, 0, 0, 0x05, 0x78}},
		{peer6, 3, 0, []byte{0, 0, 3 << 1, 0, 0, 0, 0, 0}},
		{peer6, 0, 0, nil},
		{peer6, 4, 1, nil},
		{peer6, 11, 0, nil},
		{peer6, 129, 0, nil},
	}
	r := newRig(t)
	r.alice(home).allocate(additionalFamily(2))
	id := r.session(home).id
	for _, test := range tests {
		r.replies = nil
		r.do(r.m.Unreachable(id, test.peer, test.typ, test.code, 1400))
		if test.want == nil {
			if len(r.replies) != 0 {
				t.Errorf("%v, type %d: told", test.peer, test.typ)
			}
			continue
		}
		if len(r.replies) != 1 {
			t.Errorf("%v, type %d: not told", test.peer, test.typ)
			continue
		}
		o, err := readOracle(r.replies[0].b)
		if err != nil || o.method != int(MethodData) || o.class != int(ClassIndication) || len(o.attrs) != 2 {
			t.Fatalf("%x", r.replies[0].b)
		}
		peer, _ := o.get(AttrXORPeerAddress)
		addr, _ := o.address(peer.value)
		if icmp, _ := o.get(AttrICMP); addr != test.peer || !bytes.Equal(icmp.value, test.want) {
			t.Errorf("%v, type %d, code %d: told %x of %v, want %x", test.peer, test.typ, test.code, icmp.value, addr, test.want)
		}
	}
	if len(r.m.Unreachable(id+1, peer4, 3, 3, 0)) != 0 {
		t.Error("nobody was told something")
	}
}
