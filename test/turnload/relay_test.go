package turnload

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"causeway/bench/turnload"
)

// The load of the comparison: voice of 500 clients, both ways.
const (
	relaySessions = 500
	relayRate     = 50
	relayRounds   = 5
	relayTime     = 4 * time.Second
	warmUp        = time.Second
	// A round is repeated, some times, when the generator did not run for longer than this part of it.
	stallLimit = 0.005
	tries      = 3
)

// BenchmarkRelay compares what a relayed packet costs on the server's processor.
func BenchmarkRelay(b *testing.B) {
	for _, arrival := range []struct {
		name string
		tick time.Duration
	}{
		{"uniform", 0},
		{"tick1ms", time.Millisecond},
	} {
		b.Run(arrival.name, func(b *testing.B) {
			settle(b)
			l := launch{core: serverCore, rest: true}
			contest := []*contestant{{server: startCauseway(b, l)}, {server: startCoturn(b, l)}}
			for i, path := range strings.FieldsFunc(*rivals, func(r rune) bool { return r == ',' }) {
				contest = append(contest, &contestant{server: startBuild(b, l, path, netip.AddrFrom4([4]byte{127, 1, 1, byte(i)}))})
			}
			for _, c := range contest {
				c.load = c.server.load(b, relaySessions, 0, 64)
				if _, err := c.load.SetUp(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			for range b.N {
				for range relayRounds {
					for _, c := range contest {
						c.round(b, arrival.tick)
					}
				}
			}
			b.ReportMetric(0, "ns/op") // of the rounds, which says nothing
			for _, c := range contest {
				b.ReportMetric(c.of((*round).cost), c.server.name+"-us/packet")
				b.ReportMetric(c.of(func(r *round) float64 { return float64(r.both.Quantile(0.99)) / 1e3 }), c.server.name+"-p99-us")
				b.ReportMetric(c.of((*round).lost)*100, c.server.name+"-%lost")
			}
			for _, c := range contest {
				b.ReportMetric(c.of((*round).cost)/contest[1].of((*round).cost), c.server.name+"/coturn")
			}
		})
	}
}

// contestant is a server and what it did in each round.
type contestant struct {
	server *server
	load   *turnload.Load
	rounds []round
}

// round is one measurement.
type round struct {
	turnload.Report
	both    turnload.Histogram // the delay of both directions
	spent   time.Duration      // by the server, of processor time
	foreign time.Duration      // by all other processes
	// switches is how often the server's threads went to sleep or were interrupted.
	switches uint64
}

// cost is the server's processor time in microseconds for each packet that arrived.
func (r *round) cost() float64 { return float64(r.spent) / 1e3 / float64(r.Delivered()) }

// lost is the part of all packets that did not arrive.
func (r *round) lost() float64 {
	return 1 - float64(r.Delivered())/float64(r.ToPeer.Sent+r.ToClient.Sent)
}

func (r *round) String() string {
	return fmt.Sprintf("%5.2f us/packet %4.1f %% busy %5.0f switches/s %.4f %% lost, delay p50 %v p99 %v p99.9 %v; generator stalled %v "+
		"overflowed %d, others %.1f %%",
		r.cost(), 100*r.spent.Seconds()/r.Took.Seconds(), float64(r.switches)/r.Took.Seconds(), 100*r.lost(), short(r.both.Quantile(0.5)),
		short(r.both.Quantile(0.99)), short(r.both.Quantile(0.999)), short(r.Stalled), r.Overflowed,
		100*r.foreign.Seconds()/r.Took.Seconds())
}

func short(d time.Duration) time.Duration { return d.Round(time.Microsecond) }

// of is the median over the rounds.
func (c *contestant) of(figure func(*round) float64) float64 {
	var all []float64
	for i := range c.rounds {
		all = append(all, figure(&c.rounds[i]))
	}
	return median(all)
}

// round measures once; of several tries the one counts in which the generator was disturbed least.
func (c *contestant) round(b *testing.B, tick time.Duration) {
	b.Helper()
	var best *round
	for range tries {
		c.traffic(b, tick, warmUp)
		switches := c.server.switches(b)
		cpu, foreign := c.server.cpu(b), others(os.Getpid(), c.server.PID())
		r := &round{Report: c.traffic(b, tick, relayTime)}
		r.spent, r.foreign = c.server.cpu(b)-cpu, others(os.Getpid(), c.server.PID())-foreign
		r.switches = c.server.switches(b) - switches
		r.both = r.ToPeer.Latency
		r.both.Merge(&r.ToClient.Latency)
		if best == nil || r.Stalled < best.Stalled {
			best = r
		}
		if best.Stalled.Seconds() < stallLimit*relayTime.Seconds() {
			break
		}
	}
	c.rounds = append(c.rounds, *best)
	if best.Strange > 0 {
		b.Errorf("%s: %d packets were not what had been sent", c.server.name, best.Strange)
	}
	fmt.Fprintf(os.Stderr, "%-9s %v\n", c.server.name, best)
}

func (c *contestant) traffic(b *testing.B, tick, d time.Duration) turnload.Report {
	b.Helper()
	r, err := c.load.Run(b.Context(), turnload.Traffic{Rate: relayRate, Duration: d, Tick: tick})
	if err != nil {
		b.Fatal(err)
	}
	return r
}
