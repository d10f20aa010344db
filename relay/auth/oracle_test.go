package auth

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// oracle decides as the documentation of Policy says, slowly: every rule is looked at, one bit after the other.
type oracle struct {
	PolicyOptions
	special map[netip.Prefix]string
}

// covers compares bit by bit.
func covers(p netip.Prefix, a netip.Addr) bool {
	x, y := p.Addr().AsSlice(), a.AsSlice()
	if len(x) != len(y) {
		return false
	}
	for i := range p.Bits() {
		if mask := byte(0x80 >> (i % 8)); x[i/8]&mask != y[i/8]&mask {
			return false
		}
	}
	return true
}

// longest is the length of the longest prefix of a list that covers an address, or -1.
func longest(list []netip.Prefix, a netip.Addr) int {
	bits := -1
	for _, p := range list {
		if covers(p, a) {
			bits = max(bits, p.Bits())
		}
	}
	return bits
}

func (o *oracle) isSpecial(a netip.Addr) bool {
	for p := range o.special {
		if covers(p, a) {
			return true
		}
	}
	return a.Is6() && !covers(netip.MustParsePrefix("2000::/3"), a)
}

// plain is the decision about an address as such, when allow and internalAllow are the longest rules that count for it.
func (o *oracle) plain(a netip.Addr, allow, internalAllow int) (bool, Class) {
	host := slices.Contains(o.Relay, a) || slices.ContainsFunc(o.Host, func(h netip.Addr) bool { return h.WithZone("") == a })
	opens := func(rule int) bool { return !host || rule == a.BitLen() || a.IsLoopback() && rule >= 0 }
	switch {
	case longest(o.InternalDeny, a) >= 0:
		return false, ClassInternal
	case internalAllow >= 0:
		return opens(internalAllow), ClassInternal
	case longest(o.Deny, a) >= 0:
		return false, ClassExternal
	case allow >= 0:
		return opens(allow), ClassExternal
	}
	return !host && !o.isSpecial(a), ClassExternal
}

// whole is plain with the rules that there are.
func (o *oracle) whole(a netip.Addr) (bool, Class) {
	return o.plain(a, longest(o.Allow, a), longest(o.InternalAllow, a))
}

// encoding is an IPv4 address inside an IPv6 address.
type encoding struct {
	form    int // length of the form's prefix
	another bool
	v4      netip.Addr
}

func at(a netip.Addr, places ...int) netip.Addr {
	b := a.As16()
	return netip.AddrFrom4([4]byte{b[places[0]], b[places[1]], b[places[2]], b[places[3]]})
}

func inverted(a netip.Addr) netip.Addr {
	b := a.As4()
	return netip.AddrFrom4([4]byte{^b[0], ^b[1], ^b[2], ^b[3]})
}

// encodings are the IPv4 addresses in an IPv6 address, other than in 64:ff9b:1::/48.
func encodings(a netip.Addr) []encoding {
	in := func(text string) bool { return covers(netip.MustParsePrefix(text), a) }
	b := a.As16()
	isatap := b[8]&^3 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	switch {
	case !a.Is6(), a == netip.IPv6Unspecified(), a == netip.IPv6Loopback():
		return nil
	case in("::ffff:0:0/96"), in("::/96"), in("::ffff:0:0:0/96"), in("64:ff9b::/96"):
		return []encoding{{96, true, at(a, 12, 13, 14, 15)}}
	case in("2001::/32"):
		return []encoding{{32, false, at(a, 4, 5, 6, 7)}, {32, false, inverted(at(a, 12, 13, 14, 15))}}
	case in("2002::/16") && isatap:
		return []encoding{{16, false, at(a, 2, 3, 4, 5)}, {16, false, at(a, 12, 13, 14, 15)}}
	case in("2002::/16"):
		return []encoding{{16, false, at(a, 2, 3, 4, 5)}}
	case isatap:
		return []encoding{{0, false, at(a, 12, 13, 14, 15)}}
	}
	return nil
}

// translatorPlaces are where a translator with a prefix of some length looks.
var translatorPlaces = map[int][]int{48: {6, 7, 9, 10}, 56: {7, 9, 10, 11}, 64: {9, 10, 11, 12}, 96: {12, 13, 14, 15}}

// decide is the decision about a peer.
func (o *oracle) decide(a netip.Addr, port uint16, op Op) (bool, Class) {
	if !a.IsValid() || a.Zone() != "" || port == 0 {
		return false, ClassExternal
	}
	allowed, class := o.listed(a, port, op)
	if class != ClassExternal {
		return allowed, class
	}
	switch o.Federation {
	case Legacy:
		return allowed, class
	case R2:
		return allowed && op == TCPConnect, class
	case Closed:
	}
	return false, class
}

// held is whether a port of the range counts as a relayed address.
func (o *oracle) held(a netip.Addr, port uint16, op Op) bool {
	return o.Held == nil || o.Held(a, port, op == TCPConnect || op == TCPAccept)
}

func (o *oracle) listed(a netip.Addr, port uint16, op Op) (bool, Class) {
	found := encodings(a)
	local := covers(netip.MustParsePrefix("64:ff9b:1::/48"), a)
	if len(found) == 0 && !local {
		if slices.Contains(o.Relay, a) && port >= o.Ports[0] && port <= o.Ports[1] && o.held(a, port, op) {
			named := longest(o.Deny, a) == a.BitLen() || longest(o.InternalDeny, a) == a.BitLen()
			return !named, ClassOwn
		}
		return o.whole(a)
	}
	if longest(o.Deny, a) >= 0 || longest(o.InternalDeny, a) >= 0 {
		return false, ClassExternal
	}
	form := 48
	if !local {
		form = found[0].form
	}
	allow, internalAllow := longest(o.Allow, a), longest(o.InternalAllow, a)
	if allow < form {
		allow = -1
	}
	if internalAllow < form {
		internalAllow = -1
	}
	if local {
		for _, rule := range []int{allow, internalAllow} {
			for bits, places := range translatorPlaces {
				if _, known := translatorPlaces[rule]; rule < 0 || known && bits != rule {
					continue
				}
				if ok, _ := o.whole(at(a, places...)); !ok {
					return false, ClassExternal
				}
			}
		}
	}
	for _, e := range found {
		ok, class := o.whole(e.v4)
		if !ok {
			return false, class
		}
		if e.another && max(longest(o.Allow, e.v4), longest(o.InternalAllow, e.v4)) >= 0 {
			return true, class
		}
	}
	return o.plain(a, allow, internalAllow)
}

// around draws addresses at and near the ends of ranges, where mistakes live.
type around struct{ t *rapid.T }

func (r around) oneOf(label string, of []netip.Addr) netip.Addr {
	return rapid.SampledFrom(of).Draw(r.t, label)
}

var interesting4 = addrs("0.0.0.0 8.8.8.8 9.9.9.9 10.0.0.1 10.1.2.3 127.0.0.1 169.254.169.254 192.0.0.170 192.168.1.1 224.0.0.1 255.255.255.255")

var interesting6 = addrs(":: ::1 2606:4700::1 2a00:1450::9 fe80::1 fd00::1 ff02::1 2001:db8::1 64:ff9b:1:808:8:800:: 64:ff9b:1:a01:2:300:: 100::1 4000::1")

func (r around) addr() netip.Addr {
	a := r.oneOf("address", interesting4)
	switch rapid.IntRange(0, 3).Draw(r.t, "kind") {
	case 0:
		a = spell(rapid.SampledFrom(spellings).Draw(r.t, "spelling").format, a)
	case 1:
		a = r.oneOf("address", interesting6)
	}
	switch rapid.IntRange(0, 5).Draw(r.t, "step") {
	case 0:
		a = a.Next()
	case 1:
		a = a.Prev()
	}
	if !a.IsValid() {
		return interesting4[1]
	}
	return a
}

func (r around) prefixes(label string) []netip.Prefix {
	var all []netip.Prefix
	for range rapid.IntRange(0, 4).Draw(r.t, label) {
		a := r.addr()
		bits := rapid.SampledFrom([]int{0, 4, 8, 9, 16, 24, 31, 32, 48, 56, 63, 64, 65, 95, 96, 97, 104, 127, 128}).Draw(r.t, "bits")
		p, err := a.Prefix(min(bits, a.BitLen()))
		if err == nil && plainPrefix(p) == nil {
			all = append(all, p)
		}
	}
	return all
}

func (r around) addrs(label string) []netip.Addr {
	var all []netip.Addr
	for range rapid.IntRange(0, 2).Draw(r.t, label) {
		if a := r.addr().Unmap(); !a.IsUnspecified() {
			all = append(all, a)
		}
	}
	return all
}

// held draws which ports of relay addresses are held: every one by no function; or by each transport some.
func (r around) held(o PolicyOptions) func(netip.Addr, uint16, bool) bool {
	if rapid.Bool().Draw(r.t, "the range decides") {
		return nil
	}
	udp := rapid.SliceOfN(rapid.Uint16Range(50000, 50009), 0, 6).Draw(r.t, "UDP ports")
	tcp := rapid.SliceOfN(rapid.Uint16Range(50000, 50009), 0, 6).Draw(r.t, "TCP ports")
	return func(a netip.Addr, port uint16, isTCP bool) bool {
		if !slices.Contains(o.Relay, a) || port < o.Ports[0] || port > o.Ports[1] {
			r.t.Fatalf("asked whether %s port %d is held", a, port)
		}
		if isTCP {
			return slices.Contains(tcp, port)
		}
		return slices.Contains(udp, port)
	}
}

// edges are the first and last addresses of all rules, and their neighbours.
func (o *oracle) edges() []netip.Addr {
	all := slices.Concat(o.Host, o.Relay, interesting4, interesting6)
	for _, list := range [][]netip.Prefix{o.Allow, o.Deny, o.InternalAllow, o.InternalDeny} {
		for _, p := range list {
			all = append(all, p.Addr(), p.Addr().Prev(), last(p), last(p).Next())
		}
	}
	return slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() })
}

func TestPolicyAgainstTheOracle(t *testing.T) {
	special := specials(t)
	rapid.Check(t, func(t *rapid.T) {
		r := around{t}
		o := &oracle{special: special, PolicyOptions: PolicyOptions{
			Allow: r.prefixes("allow"), Deny: r.prefixes("deny"),
			InternalAllow: r.prefixes("internal allow"), InternalDeny: r.prefixes("internal deny"),
			Host: r.addrs("host"), Relay: r.addrs("relay"),
			Ports:      [2]uint16{50000, 50009},
			Federation: rapid.SampledFrom([]Federation{Legacy, Legacy, R2, Closed}).Draw(t, "federation"),
		}}
		anyHeld, err := NewPolicy(o.PolicyOptions)
		if err != nil {
			t.Fatal(err)
		}
		o.Held = r.held(o.PolicyOptions)
		p, err := NewPolicy(o.PolicyOptions)
		if err != nil {
			t.Fatal(err)
		}
		peers := o.edges()
		for range 20 {
			peers = append(peers, r.addr())
		}
		for _, a := range slices.Clone(peers) {
			if a.Is4() {
				peers = append(peers, spell(rapid.SampledFrom(spellings).Draw(t, "spelling").format, a))
			}
		}
		op := rapid.SampledFrom([]Op{UDPIn, UDPOut, TCPConnect, TCPAccept}).Draw(t, "operation")
		for _, a := range peers {
			for _, port := range []uint16{0, 9, 49999, 50000, 50001, 50009, 50010} {
				want, class := o.decide(a, port, op)
				got := p.Endpoint(netip.AddrPortFrom(a, port), op)
				if got.Allowed != want || want && got.Class != class || got.Rule == "" {
					t.Fatalf("%s port %d, %v, %v: %+v, want %v, %v\nallow %v, deny %v; internal allow %v, deny %v; host %v, relay %v",
						a, port, op, o.Federation, got, want, class,
						o.Allow, o.Deny, o.InternalAllow, o.InternalDeny, o.Host, o.Relay)
				}
			}
			// A permission is granted if some port would do; which ports are held may change.
			some := false
			for _, port := range []uint16{9, 50000} {
				some = some || anyHeld.Endpoint(netip.AddrPortFrom(a, port), op).Allowed
			}
			own := slices.Contains(o.Relay, a)
			if got := p.Address(a, op.Set()).Allowed; got != some && !own || got && !some {
				t.Fatalf("a permission for %s, %v: %v, with some port %v", a, op, got, some)
			}
		}
	})
}
