package auth

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// What runs for every packet, and for every datagram of a flood, leaves nothing for the garbage collector.
func TestHotPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	p := policy(t, edge())
	peers := make([]netip.AddrPort, 0, 8)
	for _, text := range []string{
		"1.1.1.1:9", "8.8.8.8:9", "192.168.1.1:9", "10.0.0.5:50000", "[2606:4700::1]:9", "[2002:a01:203::5efe:8.8.8.8]:9",
		"[2001:0:101:101:8000:63bf:8000:fffe]:9", "[::ffff:10.9.0.1]:9", "[fe80::1]:9",
	} {
		peers = append(peers, netip.MustParseAddrPort(text))
	}
	o := edge()
	o.Held = func(a netip.Addr, port uint16, tcp bool) bool { return a.Is4() && port == 50000 && !tcp }
	held := policy(t, o)
	n := newNonces(time.Hour)
	nonce := n.Append(nil, start, caller)
	buffer := make([]byte, 0, NonceSize)
	forged := append([]byte{}, nonce...)
	forged[20] ^= 1
	b := NewBudget(10, 10, budgetSeed)
	q := NewQuota(QuotaOptions{PacketsPerSecond: 1000, BytesPerSecond: 100_000, Bandwidth: 1_000_000})
	l := lease(t, q, "alice")
	free := lease(t, NewQuota(QuotaOptions{}), "alice")
	now := start.UnixNano()
	i := 0
	for name, f := range map[string]func(){
		"Policy.Endpoint":       func() { p.Endpoint(peers[i%len(peers)], UDPOut) },
		"Policy.Endpoint, held": func() { held.Endpoint(peers[i%len(peers)], UDPOut) },
		"Policy.Address":        func() { p.Address(peers[i%len(peers)].Addr(), allOps) },
		"Nonces.Check, fresh":   func() { n.Check(nonce, start, caller) },
		"Nonces.Check, stale":   func() { n.Check(nonce, start, another) },
		"Nonces.Check, forged":  func() { n.Check(forged, start, caller) },
		"Nonces.Append":         func() { n.Append(buffer[:0], start, caller) },
		"Nonces.Algorithms":     func() { n.Algorithms(nonce) },
		"Budget.Take":           func() { b.Take(start, peers[i%len(peers)].Addr()) },
		"Budget.Refund":         func() { b.Refund(peers[i%len(peers)].Addr()) },
		"Lease.Spend":           func() { l.Spend(now+int64(i)*1000, 172) },
		"Lease.Spend, free":     func() { free.Spend(now, 172) },
	} {
		i = 0
		if got := testing.AllocsPerRun(1000, func() { f(); i++ }); got != 0 {
			t.Errorf("%s allocates %v times", name, got)
		}
	}
}

func BenchmarkPolicyEndpoint(b *testing.B) {
	o := edge()
	o.Deny = append(o.Deny, many(1000)...)
	for size, p := range map[string]*Policy{"few rules": policy(b, edge()), "1000 rules": policy(b, o)} {
		for _, text := range []string{"1.1.1.1:9", "192.168.1.1:9", "[2606:4700::1]:9", "[64:ff9b::10.1.2.3]:9", "[2002:101:101::5efe:1.1.1.1]:9"} {
			peer := netip.MustParseAddrPort(text)
			b.Run(fmt.Sprintf("%s/%s", size, peer.Addr()), func(b *testing.B) {
				for b.Loop() {
					p.Endpoint(peer, UDPOut)
				}
			})
		}
	}
}

func BenchmarkNewPolicy(b *testing.B) {
	o := edge()
	o.Deny = append(o.Deny, many(10_000)...)
	for b.Loop() {
		policy(b, o)
	}
}

func BenchmarkNonceCheck(b *testing.B) {
	n := newNonces(time.Hour)
	nonce := n.Append(nil, start, caller)
	for b.Loop() {
		if n.Check(nonce, start, caller) != Fresh {
			b.Fatal("not fresh")
		}
	}
}

func BenchmarkNonceAppend(b *testing.B) {
	n := newNonces(time.Hour)
	buffer := make([]byte, 0, NonceSize)
	for b.Loop() {
		n.Append(buffer, start, caller)
	}
}

func BenchmarkBudgetTake(b *testing.B) {
	for name, burst := range map[string]int{"granted": 1 << 30, "refused": 1} {
		b.Run(name, func(b *testing.B) {
			budget := NewBudget(1, burst, budgetSeed)
			a := netip.MustParseAddr("192.0.2.1")
			for b.Loop() {
				budget.Take(start, a)
			}
		})
	}
}

func BenchmarkLeaseSpend(b *testing.B) {
	rates := QuotaOptions{PacketsPerSecond: 1_000_000_000, BytesPerSecond: 1 << 40, Bandwidth: 1 << 40}
	for _, c := range []struct {
		name   string
		o      QuotaOptions
		shares int
	}{{"no rates", QuotaOptions{}, 1}, {"one allocation", rates, 1}, {"10000 allocations", rates, 10_000}} {
		b.Run(c.name, func(b *testing.B) {
			q := NewQuota(c.o)
			for range c.shares - 1 {
				if _, err := q.Acquire("alice"); err != nil {
					b.Fatal(err)
				}
			}
			l := lease(b, q, "alice")
			now := start.UnixNano()
			for b.Loop() {
				if now += 100; l.Spend(now, 172) != SpentOK {
					b.Fatal("over")
				}
			}
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	s := ed25519Signer(b, 1)
	c := credentials(b, Options{Users: map[string]string{"alice": "secret"}, RestSecrets: []string{"north"}, Signers: []*Signer{s}})
	issued, err := s.Issue(start, "alice", time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for name, user := range map[string]string{
		"static": "alice", "unknown": "bob", "rest": RestCredential("north", "alice", start.Add(time.Hour)).Username,
		"signed": issued.Username, "forged": issued.Username[:len(issued.Username)-1] + "?",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			sent := []byte(user)
			for b.Loop() {
				_, _ = c.Verify(start, sent, nil, SHA256, func([]byte) bool { return true })
			}
		})
	}
}
