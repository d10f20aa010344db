package media

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/rtcp"

	"causeway/internal/netio"
	"causeway/qos"
)

// lab is a plane on a network in memory, running in a bubble of time.
type lab struct {
	t             *testing.T
	net           *netio.Memory
	plane         *Plane
	pool, gateway *netio.MemorySocket // the peers' RTP
	poolRTCP      *netio.MemorySocket
	gatewayRTCP   *netio.MemorySocket
	stop          func() error
}

func newLab(t *testing.T, change func(c *Config)) *lab {
	t.Helper()
	l := &lab{t: t, net: netio.NewMemory()}
	c := Config{
		First: 60000, Last: 60009, PoolAddr: poolAddr, GatewayAddr: gatewayAddr,
		Workers: 2, CNAME: "lab", Marks: qos.ForCalls(true), Engine: l.net,
	}
	if change != nil {
		change(&c)
	}
	var err error
	if l.plane, err = NewPlane(c); err != nil {
		t.Fatal(err)
	}
	for at, s := range map[netip.AddrPort]**netio.MemorySocket{
		poolPeer:                            &l.pool,
		gatewayPeer:                         &l.gateway,
		addrPort(poolPeer.Addr(), 20001):    &l.poolRTCP,
		addrPort(gatewayPeer.Addr(), 30001): &l.gatewayRTCP,
	} {
		if *s, err = l.net.Socket(at); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.plane.Run(ctx) }()
	l.stop = func() error { cancel(); err := <-done; done <- err; return err }
	return l
}

func (l *lab) open() *Bridge {
	l.t.Helper()
	b, err := l.plane.Open("call")
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

func (l *lab) set(b *Bridge) {
	l.t.Helper()
	for _, s := range []Side{Pool, Gateway} {
		if err := b.Set(s, plainLeg(s)); err != nil {
			l.t.Fatal(err)
		}
	}
}

// talkFor has both peers send a packet each 20 ms.
func (l *lab) talkFor(b *Bridge, d time.Duration, from int) {
	for i := range int(d / (20 * time.Millisecond)) {
		l.pool.Send(talk(from+i, 7).bytes(), b.Local(Pool))
		l.gateway.Send(talk(from+i, 8).bytes(), b.Local(Gateway))
		time.Sleep(20 * time.Millisecond)
	}
}

func TestPlaneBridges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		b := l.open()
		l.set(b)
		if _, ok := b.Active(Pool); ok {
			t.Error("active before anything came")
		}
		l.talkFor(b, time.Second, 0)
		last := time.Now().Add(-20 * time.Millisecond)
		synctest.Wait()
		for s, sock := range []*netio.MemorySocket{l.pool, l.gateway} {
			got := sock.Received()
			if len(got) != 50 || got[0].From != b.Local(Side(s)) || got[0].DSCP() != 46 {
				t.Errorf("%v peer received %d", Side(s), len(got))
			}
			if at, ok := b.Active(Side(s)); !ok || !at.Equal(last) {
				t.Errorf("%v active at %v, want %v", Side(s), at, last)
			}
			st := b.Stats()[s]
			if st.Receive.Packets != 50 || st.Send.Packets != 50 || *st.Receive.Lost != 0 || *st.Receive.JitterMS != 0 || st.Codec != "PCMU" {
				t.Errorf("%v: %+v", Side(s), st)
			}
			if st.Local != b.Local(Side(s)) || st.Remote != peerOf(Side(s)) || st.Source != peerOf(Side(s)) {
				t.Errorf("%v: addresses %v %v %v", Side(s), st.Local, st.Remote, st.Source)
			}
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Round trips, far losses and the rhythm of reports, with a peer that answers as
// RFC 3550 has it and a network that takes 40 ms each way.
func TestReportsOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		l.net.SetDelay(40 * time.Millisecond)
		b := l.open()
		l.set(b)
		var wg sync.WaitGroup
		wg.Go(func() { l.talkFor(b, 2*time.Minute, 0) })
		var times []time.Time
		for range int(2 * time.Minute / (10 * time.Millisecond)) {
			time.Sleep(10 * time.Millisecond)
			for _, d := range l.gatewayRTCP.Received() {
				if d.DSCP() != 46 {
					t.Errorf("RTCP is marked %d", d.DSCP())
				}
				times = append(times, d.At)
				l.answer(d, b)
			}
		}
		wg.Wait()
		if n := len(times); n < 18 || n > 45 {
			t.Errorf("%d reports in two minutes", n)
		}
		for i := 1; i < len(times); i++ {
			if gap := times[i].Sub(times[i-1]); gap < 2*time.Second || gap > 6300*time.Millisecond {
				t.Errorf("%v between two reports", gap)
			}
		}
		st := b.Stats()[Gateway].Send
		if st.RoundTripMS == nil || *st.RoundTripMS < 79.9 || *st.RoundTripMS > 80.1 {
			t.Errorf("round trip %v, want 80 ms", st.RoundTripMS)
		}
		if *st.FarLost != 3 || *st.FarJitterMS != 2 {
			t.Errorf("far end lost %d, jitter %v ms", *st.FarLost, *st.FarJitterMS)
		}
		b.Close()
		time.Sleep(time.Second)
		synctest.Wait()
		got := l.gatewayRTCP.Received()
		list, err := rtcp.Unmarshal(got[len(got)-1].Data)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := list[len(list)-1].(*rtcp.Goodbye); !ok {
			t.Errorf("the last report ends with %T", list[len(list)-1])
		}
		time.Sleep(time.Minute)
		if l.gatewayRTCP.Received() != nil {
			t.Error("reports after the goodbye")
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
}

// answer is a gateway's report on what it received, sent after it thought about it
// for 30 ms. It runs in a goroutine of its own, as the gateway would.
func (l *lab) answer(d netio.Datagram, b *Bridge) {
	list, err := rtcp.Unmarshal(d.Data)
	if err != nil {
		l.t.Fatal(err)
	}
	sr, ok := list[0].(*rtcp.SenderReport)
	if !ok {
		return
	}
	go func() {
		time.Sleep(time.Until(d.At.Add(30 * time.Millisecond)))
		block := reportBlock{ssrc: sr.SSRC, lost: 3, jitter: 16, lsr: ntpMiddle(sr.NTPTime), dlsr: shortTime(int64(time.Since(d.At)))}
		local := b.Local(Gateway)
		l.gatewayRTCP.Send(appendCNAME(appendReport(nil, 8, nil, &block), 8, "g"), addrPort(local.Addr(), local.Port()+1))
	}()
}

// A leg on hold has nobody to report to; a bridge that nobody set sleeps.
func TestNoReportsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		idle := l.open()
		b := l.open()
		l.set(b)
		time.Sleep(time.Minute)
		if n := len(l.poolRTCP.Received()); n < 9 {
			t.Errorf("%d reports in a minute", n)
		}
		held := plainLeg(Pool)
		held.Remote = netip.AddrPort{}
		if err := b.Set(Pool, held); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if n := len(l.poolRTCP.Received()); n != 0 {
			t.Errorf("%d reports on hold", n)
		}
		elsewhere := plainLeg(Pool)
		elsewhere.RemoteRTCP = gatewayPeer
		if err := b.Set(Pool, elsewhere); err != nil {
			t.Fatal(err)
		}
		l.gateway.Received()
		time.Sleep(time.Minute)
		if n := len(l.gateway.Received()); n < 9 {
			t.Errorf("%d reports where signalling wants them", n)
		}
		idle.Close()
		for _, w := range l.plane.workers {
			w.call(func(time.Time) {
				if n := w.wheel.Len(); n != 2 && n != 0 {
					t.Errorf("%d timers are set", n)
				}
			})
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A pair that was used rests before it is used again, and all come back.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil) // five pairs a side
		var bridges []*Bridge
		seen := map[netip.AddrPort]bool{}
		for range 5 {
			b := l.open()
			seen[b.Local(Pool)], seen[b.Local(Gateway)] = true, true
			bridges = append(bridges, b)
		}
		if len(seen) != 10 || l.plane.PortsFree(Pool) != 0 || l.plane.PortsTotal(Pool) != 5 || l.plane.Bridges() != 5 {
			t.Errorf("%d addresses, %d pairs of %d free, %d bridges", len(seen), l.plane.PortsFree(Pool), l.plane.PortsTotal(Pool), l.plane.Bridges())
		}
		if _, err := l.plane.Open("one more"); !errors.Is(err, ErrNoPorts) {
			t.Errorf("opening a sixth: %v", err)
		}
		local := bridges[0].Local(Pool)
		bridges[0].Close()
		bridges[0].Close()
		time.Sleep(Quarantine - time.Nanosecond)
		if _, err := l.plane.Open("too soon"); !errors.Is(err, ErrNoPorts) {
			t.Errorf("opening during the rest: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if b := l.open(); b.Local(Pool) != local {
			t.Errorf("got %v, want %v back", b.Local(Pool), local)
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
		if _, err := l.plane.Open("after the end"); !errors.Is(err, ErrClosed) {
			t.Errorf("opening after Run: %v", err)
		}
		time.Sleep(Quarantine)
		if l.plane.PortsFree(Pool) != 5 || l.plane.PortsFree(Gateway) != 5 || l.plane.Bridges() != 0 {
			t.Errorf("%d and %d pairs free, %d bridges open after the end", l.plane.PortsFree(Pool), l.plane.PortsFree(Gateway), l.plane.Bridges())
		}
	})
}

func TestSharedAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(c *Config) { c.GatewayAddr = c.PoolAddr })
		a, b := l.open(), l.open()
		if _, err := l.plane.Open("third"); !errors.Is(err, ErrNoPorts) {
			t.Errorf("five pairs make two bridges; the third: %v", err)
		}
		if l.plane.PortsFree(Pool) != 1 {
			t.Errorf("%d pairs free: one side's pair was not given back", l.plane.PortsFree(Pool))
		}
		a.Close()
		b.Close()
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
}

// Somebody else's port is passed over, and its pair is tried again in its turn.
func TestPortInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, nil)
		taken, err := l.net.Socket(addrPort(poolAddr, 60005)) // the RTCP port of the pair 60004
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			if b := l.open(); b.Local(Pool).Port() == 60004 {
				t.Error("half of a pair was taken")
			}
		}
		if _, err := l.plane.Open("fifth"); !errors.Is(err, ErrNoPorts) {
			t.Errorf("opening with one pair in use elsewhere: %v", err)
		}
		taken.Close()
		if b := l.open(); b.Local(Pool).Port() != 60004 {
			t.Errorf("got %v", b.Local(Pool))
		}
		if err := l.stop(); err != nil {
			t.Error(err)
		}
	})
}
