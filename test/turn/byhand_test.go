package turn

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// byHand is a UDP client whose messages a test puts together, for what no client at hand asks for.
type byHand struct {
	conn  net.PacketConn
	relay net.Addr
	// What the relay told with its first refusal.
	realm      stun.Realm
	nonce      stun.Nonce
	algorithms []byte // PASSWORD-ALGORITHMS, if it offered any
}

// The values of attributes, and one that pion's module does not name.
const attrAdditionalAddressFamily stun.AttrType = 0x8000

var (
	udpTransport = attribute(stun.AttrRequestedTransport, 17, 0, 0, 0)
	familyIPv6   = []byte{2, 0, 0, 0}

	errNothingCame = errors.New("nothing came")
)

func attribute(kind stun.AttrType, value ...byte) stun.RawAttribute {
	return stun.RawAttribute{Type: kind, Value: value}
}

func dialByHand(t *testing.T, s *subject) *byHand {
	t.Helper()
	relay, err := net.ResolveUDPAddr("udp", joinHost("127.0.0.1", s.Open))
	if err != nil {
		t.Fatal(err)
	}
	c := &byHand{conn: socket(t, "127.0.0.1"), relay: relay}
	refused, err := c.ask(stun.MethodAllocate, udpTransport)
	if err != nil {
		t.Fatalf("first Allocate: %v", err)
	}
	if err := errors.Join(c.realm.GetFrom(refused), c.nonce.GetFrom(refused)); err != nil {
		t.Fatalf("%v: %v", refused, err)
	}
	c.algorithms, _ = refused.Get(attrPasswordAlgorithms)
	return c
}

// ask sends a request and waits for its answer.
func (c *byHand) ask(method stun.Method, setters ...stun.Setter) (*stun.Message, error) {
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, setters...)
	if c.nonce != nil {
		all = append(all, stun.NewUsername(user), c.realm, c.nonce, stun.NewLongTermIntegrity(user, realm, password))
	}
	request, err := stun.Build(append(all, stun.Fingerprint)...)
	if err != nil {
		return nil, err
	}
	return c.roundTrip(request)
}

// roundTrip sends a request as it is and waits for its answer.
func (c *byHand) roundTrip(request *stun.Message) (*stun.Message, error) {
	if _, err := c.conn.WriteTo(request.Raw, c.relay); err != nil {
		return nil, err
	}
	answer, err := c.next()
	if err == nil && answer.TransactionID != request.TransactionID {
		err = errors.New("the answer is to another request")
	}
	return answer, err
}

// must is ask for what has to succeed.
func (c *byHand) must(t *testing.T, method stun.Method, setters ...stun.Setter) *stun.Message {
	t.Helper()
	answer, err := c.ask(method, setters...)
	if err != nil {
		t.Fatalf("%v: %v", method, err)
	}
	if answer.Type.Class != stun.ClassSuccessResponse {
		var code stun.ErrorCodeAttribute
		_ = code.GetFrom(answer)
		t.Fatalf("%v was refused: %v", method, code)
	}
	return answer
}

// next reads one message from the relay.
func (c *byHand) next() (*stun.Message, error) {
	b, _, err := receive(c.conn)
	if err != nil {
		return nil, err
	}
	m := &stun.Message{Raw: b}
	return m, m.Decode()
}

// receive reads one datagram; errNothingCame if there is none for a second.
func receive(c net.PacketConn) ([]byte, netip.AddrPort, error) {
	if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, netip.AddrPort{}, err
	}
	b := make([]byte, 2000)
	n, from, err := c.ReadFrom(b)
	if err != nil {
		return nil, netip.AddrPort{}, errNothingCame
	}
	return b[:n], addrPort(from), nil
}

// there sends a message to a peer by a Send indication; it has to come from a relayed address.
func (c *byHand) there(peer net.PacketConn, relayed netip.AddrPort) error {
	sent := []byte("there")
	m, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAddress(peer),
		attribute(stun.AttrData, sent...))
	if err != nil {
		return err
	}
	if _, err := c.conn.WriteTo(m.Raw, c.relay); err != nil {
		return err
	}
	got, from, err := receive(peer)
	if err == nil && (!bytes.Equal(got, sent) || from != relayed) {
		err = errors.New("other data came, or from " + from.String())
	}
	return err
}

// back sends a message from a peer to a relayed address; it has to come in a Data indication.
func (c *byHand) back(peer net.PacketConn, relayed netip.AddrPort) error {
	sent := []byte("back")
	if _, err := peer.WriteTo(sent, net.UDPAddrFromAddrPort(relayed)); err != nil {
		return err
	}
	m, err := c.next()
	if err != nil {
		return err
	}
	got, err := m.Get(stun.AttrData)
	if err == nil && (m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) || !bytes.Equal(got, sent)) {
		err = errors.New("what came is " + m.String())
	}
	return err
}

func peerAddress(peer net.PacketConn) stun.Setter {
	a := addrPort(peer.LocalAddr())
	return as{stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}, stun.AttrXORPeerAddress}
}

// as adds an address under another attribute's number.
type as struct {
	address stun.XORMappedAddress
	kind    stun.AttrType
}

func (a as) AddTo(m *stun.Message) error { return a.address.AddToAs(m, a.kind) }

// addresses returns every address of a kind in a message.
func addresses(t *testing.T, m *stun.Message, kind stun.AttrType) []netip.AddrPort {
	t.Helper()
	var all []netip.AddrPort
	for _, a := range m.Attributes {
		if a.Type != kind {
			continue
		}
		// pion finds the first of a kind: a message that has no other.
		one := &stun.Message{TransactionID: m.TransactionID, Attributes: stun.Attributes{a}}
		var address stun.XORMappedAddress
		if err := address.GetFromAs(one, kind); err != nil {
			t.Fatal(err)
		}
		ip, ok := netip.AddrFromSlice(address.IP)
		if !ok {
			t.Fatalf("address %v", address)
		}
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(address.Port)))
	}
	return all
}
