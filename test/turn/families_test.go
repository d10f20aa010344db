package turn

import (
	"errors"
	"net"
	"testing"

	"github.com/pion/stun/v3"
)

// TestBothFamilies asks for an IPv4 and an IPv6 relayed address in one allocation (RFC 8656 section 7.1), which no
// client at hand does: turnutils_uclient -Z of 4.6.1 asks by an older attribute number, which its own server knows and
// the RFC does not. So the messages are put together here, from pion's parts.
func TestBothFamilies(t *testing.T) {
	onlyCauseway(t)
	t.Parallel()
	s := start(t, setup{})
	c := dialByHand(t, s)

	allocated := c.must(t, stun.MethodAllocate, udpTransport, attribute(attrAdditionalAddressFamily, familyIPv6...))
	relayed := addresses(t, allocated, stun.AttrXORRelayedAddress)
	if len(relayed) != 2 || !relayed[0].Addr().Is4() || !relayed[1].Addr().Is6() {
		t.Fatalf("relayed addresses %v, want one of IPv4 and one of IPv6", relayed)
	}
	peers := []net.PacketConn{socket(t, "127.0.0.1"), socket(t, "::1")}
	c.must(t, stun.MethodCreatePermission, peerAddress(peers[0]), peerAddress(peers[1]))
	for i, peer := range peers {
		s.isRelayed(t, relayed[i].String())
		if err := c.there(peer, relayed[i]); err != nil {
			t.Errorf("client to %v: %v", peer.LocalAddr(), err)
		}
		if err := c.back(peer, relayed[i]); err != nil {
			t.Errorf("%v to client: %v", peer.LocalAddr(), err)
		}
	}

	// A refresh to nothing for one family leaves the other (RFC 8656 section 8.2).
	c.must(t, stun.MethodRefresh, attribute(stun.AttrLifetime, 0, 0, 0, 0), attribute(stun.AttrRequestedAddressFamily, familyIPv6...))
	if err := c.back(peers[0], relayed[0]); err != nil {
		t.Errorf("IPv4 after the end of IPv6: %v", err)
	}
	if err := c.back(peers[1], relayed[1]); !errors.Is(err, errNothingCame) {
		t.Errorf("IPv6 after its end: %v, want nothing to come", err)
	}
}
