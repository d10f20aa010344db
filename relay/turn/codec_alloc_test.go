package turn

import (
	"net/netip"
	"testing"
)

// codecSteps is what a packet or a request takes of the wire format, warm.
func codecSteps(t testing.TB) map[string]func() {
	var (
		m        Message
		c        Composer
		key      = keySHA256("alice", "example.org", "secret")
		sha1Key  = []byte(rfc5769Password)
		allocate = unhex(t, sha256Allocate)
		request  = unhex(t, rfc5769Request)
		answer   = unhex(t, bothSuccess)
		peer     = netip.MustParseAddrPort("[2001:db8::1]:5000")
		permit   = message(0x0008, peerAttr, peerAttr, attr(0x7000), attr(0x7001))
		send     = message(typeSend, peerAttr, attr(AttrData, make([]byte, 172)...))
		marked   = fingerprinting(send)
		channel  = append([]byte{0x40, 0, 0, 172}, make([]byte, 172)...)
		refused  = extended(send, attr(AttrFingerprint, 0, 0, 0, 0))
		unknown  [8]Attr
		head     [48]byte
	)
	must := func(ok bool) {
		if !ok {
			t.Fatal("refused")
		}
	}
	return map[string]func(){
		"parse": func() { must(m.Parse(allocate) == nil) },
		"check-sha1": func() {
			must(m.Parse(request) == nil)
			must(m.CheckIntegrity(sha1Key))
		},
		"check-sha256": func() {
			must(m.Parse(allocate) == nil)
			must(m.CheckIntegritySHA256(key))
		},
		"read": func() {
			must(m.Parse(permit) == nil)
			n := 0
			m.Each(AttrXORPeerAddress, func(value []byte) {
				if _, err := m.DecodeXORAddr(value); err == nil {
					n++
				}
			})
			list := m.Unknown(unknown[:0], understood)
			_, err := m.Uint32(AttrLifetime)
			must(n == 2 && len(list) == 2 && err != nil)
		},
		"compose": func() {
			c.Begin(MethodAllocate, ClassSuccess, m.ID)
			c.AddAddr(AttrXORRelayedAddress, peer)
			c.AddAddr(AttrXORMappedAddress, peer)
			c.AddUint32(AttrLifetime, 600)
			c.AddString(AttrSoftware, "causeway")
			must(len(c.Seal(key, false, true, true)) > 100)
		},
		"compose-challenge": func() {
			c.Begin(MethodAllocate, ClassError, m.ID)
			c.AddError(401)
			c.AddString(AttrRealm, "example.org")
			c.Add(AttrNonce, key[:29])
			c.AddUnknown(unknown[:2])
			c.AddICMP(3, 3, 0)
			must(len(c.Seal(nil, false, false, false)) > 50)
		},
		"answer": func() {
			must(m.Parse(answer) == nil)
			must(m.CheckIntegrity(key) && m.CheckIntegritySHA256(key))
		},
		"send": func() {
			_, data, _, err := ParseSend(send)
			must(err == nil && len(data) == 172)
		},
		"send-fingerprint": func() {
			_, data, _, err := ParseSend(marked)
			must(err == nil && len(data) == 172)
		},
		"data": func() {
			must(PutDataIndication(head[:DataIndicationHeaderSize(peer.Addr())], m.ID, peer, 172) == nil)
		},
		"channel": func() {
			_, data, err := ParseChannelData(channel, false)
			must(err == nil && len(data) == 172 && Classify(channel) == KindChannelData)
		},
		"frame": func() {
			n, err := FrameSize(channel)
			must(err == nil && n == 176)
		},
		"refused": func() {
			must(m.Parse(refused) != nil)
			_, _, _, err := ParseSend(refused)
			must(err != nil && Classify(refused[1:]) == KindOther)
			_, _, err = ParseChannelData(channel[:100], true)
			must(err != nil)
		},
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("allocation counts are not meaningful under the race detector")
	}
	for name, step := range codecSteps(t) {
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	for name, step := range codecSteps(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}
