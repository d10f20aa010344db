package turn

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun/v3"
	"pgregory.net/rapid"
)

// pion/stun is what most clients in Go are built on, and knows nothing of this package.

func TestNumbersAreThoseOfPion(t *testing.T) {
	for a, want := range map[Attr]stun.AttrType{
		AttrMappedAddress: stun.AttrMappedAddress, AttrUsername: stun.AttrUsername,
		AttrMessageIntegrity: stun.AttrMessageIntegrity, AttrErrorCode: stun.AttrErrorCode,
		AttrUnknownAttributes: stun.AttrUnknownAttributes, AttrRealm: stun.AttrRealm, AttrNonce: stun.AttrNonce,
		AttrMessageIntegritySHA256: stun.AttrMessageIntegritySHA256, AttrPasswordAlgorithm: stun.AttrPasswordAlgorithm,
		AttrUserhash: stun.AttrUserhash, AttrXORMappedAddress: stun.AttrXORMappedAddress,
		AttrPasswordAlgorithms: stun.AttrPasswordAlgorithms, AttrAlternateDomain: stun.AttrAlternateDomain,
		AttrSoftware: stun.AttrSoftware, AttrAlternateServer: stun.AttrAlternateServer,
		AttrFingerprint: stun.AttrFingerprint, AttrChannelNumber: stun.AttrChannelNumber,
		AttrLifetime: stun.AttrLifetime, AttrXORPeerAddress: stun.AttrXORPeerAddress, AttrData: stun.AttrData,
		AttrXORRelayedAddress: stun.AttrXORRelayedAddress, AttrRequestedAddressFamily: stun.AttrRequestedAddressFamily,
		AttrEvenPort: stun.AttrEvenPort, AttrRequestedTransport: stun.AttrRequestedTransport,
		AttrDontFragment: stun.AttrDontFragment, AttrReservationToken: stun.AttrReservationToken,
		AttrConnectionID: stun.AttrConnectionID, AttrPriority: stun.AttrPriority,
		AttrUseCandidate: stun.AttrUseCandidate, AttrICEControlled: stun.AttrICEControlled,
		AttrICEControlling: stun.AttrICEControlling,
	} {
		if stun.AttrType(a) != want {
			t.Errorf("%#04x is %s of pion", uint16(a), want)
		}
	}
	for m, want := range map[Method]stun.Method{
		MethodBinding: stun.MethodBinding, MethodAllocate: stun.MethodAllocate, MethodRefresh: stun.MethodRefresh,
		MethodSend: stun.MethodSend, MethodData: stun.MethodData, MethodCreatePermission: stun.MethodCreatePermission,
		MethodChannelBind: stun.MethodChannelBind, MethodConnect: stun.MethodConnect,
		MethodConnectionBind: stun.MethodConnectionBind, MethodConnectionAttempt: stun.MethodConnectionAttempt,
	} {
		if stun.Method(m) != want {
			t.Errorf("%#x is %s of pion", uint16(m), want)
		}
	}
}

var (
	anyMethod = rapid.Uint16Range(0, 0xFFF)
	anyClass  = rapid.Uint8Range(0, 3)
	anyKey    = rapid.SliceOfN(rapid.Byte(), 1, 100)
	anyID     = rapid.Custom(func(t *rapid.T) TransactionID {
		return TransactionID(rapid.SliceOfN(rapid.Byte(), 12, 12).Draw(t, "bytes"))
	})
	// Attributes that neither side treats by their own rules.
	plainAttr = rapid.OneOf(
		rapid.SampledFrom([]Attr{
			AttrUsername, AttrRealm, AttrNonce, AttrLifetime, AttrData, AttrXORPeerAddress, AttrChannelNumber,
			AttrDontFragment, AttrSoftware, AttrMobilityTicket, AttrICMP,
		}),
		rapid.Custom(func(t *rapid.T) Attr { return Attr(rapid.Uint16Range(0x0100, 0x7FFF).Draw(t, "type")) }),
		rapid.Custom(func(t *rapid.T) Attr { return Attr(rapid.Uint16Range(0x8100, 0xFFFF).Draw(t, "type")) }),
	)
	anyValue = rapid.SliceOfN(rapid.Byte(), 0, 70)
	anyAddr  = rapid.Custom(func(t *rapid.T) netip.AddrPort {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		addr, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address"))
		return netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port"))
	})
)

type pair struct {
	attr  Attr
	value []byte
}

var anyAttrs = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) pair {
	return pair{plainAttr.Draw(t, "attribute"), anyValue.Draw(t, "value")}
}), 0, 12)

// What we compose is what pion reads, seals included.
func TestPionReadsComposed(t *testing.T) {
	var c Composer
	rapid.Check(t, func(t *rapid.T) {
		method, class, id := anyMethod.Draw(t, "method"), anyClass.Draw(t, "class"), anyID.Draw(t, "id")
		attrs, addr, key := anyAttrs.Draw(t, "attributes"), anyAddr.Draw(t, "address"), anyKey.Draw(t, "key")
		sha1, sha256, mark := rapid.Bool().Draw(t, "sha1"), rapid.Bool().Draw(t, "sha256"), rapid.Bool().Draw(t, "fingerprint")

		c.Begin(Method(method), Class(class), id)
		for _, a := range attrs {
			c.Add(a.attr, a.value)
		}
		c.AddAddr(AttrXORRelayedAddress, addr)
		c.AddAddr(AttrAlternateServer, addr)
		c.AddError(438)
		b := c.Seal(key, sha1, sha256, mark)

		m := &stun.Message{Raw: slices.Clone(b)}
		if err := m.Decode(); err != nil {
			t.Fatalf("%v: %x", err, b)
		}
		if uint16(m.Type.Method) != method || uint8(m.Type.Class) != class || m.TransactionID != id {
			t.Fatalf("%v of %x", m.Type, m.TransactionID)
		}
		for i, a := range attrs {
			if got := m.Attributes[i]; uint16(got.Type) != uint16(a.attr) || !bytes.Equal(got.Value, a.value) {
				t.Fatalf("attribute %d is %v", i, got)
			}
		}
		var xored stun.XORMappedAddress
		var plain stun.AlternateServer
		if err := xored.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil || !sameAddr(addr, xored.IP, xored.Port) {
			t.Fatalf("%v, %v, want %v", xored, err, addr)
		}
		if err := plain.GetFrom(m); err != nil || !sameAddr(addr, plain.IP, plain.Port) {
			t.Fatalf("%v, %v, want %v", plain, err, addr)
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(m); err != nil || code.Code != 438 || len(code.Reason) != 0 {
			t.Fatalf("%v, %v", code, err)
		}
		if m.Contains(stun.AttrMessageIntegrity) != sha1 || m.Contains(stun.AttrMessageIntegritySHA256) != sha256 ||
			m.Contains(stun.AttrFingerprint) != mark {
			t.Fatal("seals missing")
		}
		if sha1 {
			if err := stun.MessageIntegrity(key).Check(m); err != nil {
				t.Fatalf("integrity: %v", err)
			}
		}
		if mark {
			if err := stun.Fingerprint.Check(m); err != nil {
				t.Fatalf("fingerprint: %v", err)
			}
		}
		var own Message
		if err := own.Parse(b); err != nil || own.CheckIntegrity(key) != sha1 || own.CheckIntegritySHA256(key) != sha256 {
			t.Fatalf("our own parser disagrees: %v", err)
		}
	})
}

func sameAddr(want netip.AddrPort, ip net.IP, port int) bool {
	got, ok := netip.AddrFromSlice(ip)
	return ok && got.Unmap() == want.Addr().Unmap() && port == int(want.Port())
}

// What pion builds is what we read.
func TestParseReadsPion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		method, class, id := anyMethod.Draw(t, "method"), anyClass.Draw(t, "class"), anyID.Draw(t, "id")
		attrs, addr, key := anyAttrs.Draw(t, "attributes"), anyAddr.Draw(t, "address"), anyKey.Draw(t, "key")
		sha1, mark := rapid.Bool().Draw(t, "sha1"), rapid.Bool().Draw(t, "fingerprint")

		typ := stun.MessageType{Method: stun.Method(method), Class: stun.MessageClass(class)}
		if typ.Value() == 0 {
			t.Skip("pion refuses type 0")
		}
		setters := []stun.Setter{typ, stun.NewTransactionIDSetter(id)}
		for _, a := range attrs {
			setters = append(setters, stun.RawAttribute{Type: stun.AttrType(a.attr), Value: a.value})
		}
		setters = append(setters,
			xorAs{stun.AttrXORRelayedAddress, &stun.XORMappedAddress{IP: addr.Addr().AsSlice(), Port: int(addr.Port())}},
			&stun.AlternateServer{IP: addr.Addr().AsSlice(), Port: int(addr.Port())})
		if sha1 {
			setters = append(setters, stun.MessageIntegrity(key))
		}
		if mark {
			setters = append(setters, stun.Fingerprint)
		}
		built, err := stun.Build(setters...)
		if err != nil {
			t.Fatal(err)
		}

		var m Message
		if err := m.Parse(built.Raw); err != nil {
			t.Fatalf("%v: %x", err, built.Raw)
		}
		if uint16(m.Method) != method || uint8(m.Class) != class || m.ID != id {
			t.Fatalf("method %d, class %d of %x", m.Method, m.Class, m.ID)
		}
		seen := map[Attr]bool{}
		for _, a := range attrs {
			if got, ok := m.Get(a.attr); !ok || !seen[a.attr] && !bytes.Equal(got, a.value) {
				t.Fatalf("%#04x: %x, %v", uint16(a.attr), got, ok)
			}
			seen[a.attr] = true
		}
		for _, a := range []Attr{AttrXORRelayedAddress, AttrAlternateServer} {
			if got, err := m.Addr(a); err != nil || got.Addr().Unmap() != addr.Addr().Unmap() || got.Port() != addr.Port() {
				t.Fatalf("%#04x: %v, %v, want %v", uint16(a), got, err, addr)
			}
		}
		if m.CheckIntegrity(key) != sha1 || m.CheckIntegritySHA256(key) {
			t.Fatal("integrity")
		}
		if _, ok := m.Get(AttrFingerprint); ok != mark {
			t.Fatal("fingerprint")
		}
	})
}

// xorAs is an XOR'ed address under another type than XOR-MAPPED-ADDRESS.
type xorAs struct {
	typ  stun.AttrType
	addr *stun.XORMappedAddress
}

func (x xorAs) AddTo(m *stun.Message) error { return x.addr.AddToAs(m, x.typ) }
