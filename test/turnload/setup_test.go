package turnload

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
)

const (
	setUpSessions = 4000
	setUpInFlight = 64
	setUpRounds   = 3
)

// BenchmarkSetUp compares how many clients a second a server can set up on one processor, from the first Allocate
// request to the answer to ChannelBind, and what processor time it spends on one.
func BenchmarkSetUp(b *testing.B) {
	for _, users := range []struct {
		name string
		rest bool
	}{
		{"static", false}, // one user, whose password is in the configuration
		{"rest", true},    // a user for each client, with a password derived from a secret
	} {
		b.Run(users.name, func(b *testing.B) {
			settle(b)
			l := launch{core: serverCore, rest: users.rest}
			contest := []*registrar{{server: startCauseway(b, l)}, {server: startCoturn(b, l)}}
			for range b.N {
				for range setUpRounds {
					for _, c := range contest {
						c.round(b)
					}
				}
			}
			b.ReportMetric(0, "ns/op")
			for _, c := range contest {
				b.ReportMetric(median(c.rate), c.server.name+"-setups/s")
				b.ReportMetric(median(c.cost), c.server.name+"-us/setup")
			}
			b.ReportMetric(median(contest[0].cost)/median(contest[1].cost), "ratio")
		})
	}
}

// registrar is a server that sets clients up, and what that took in each round.
type registrar struct {
	server     *server
	rate, cost []float64 // set-ups a second; microseconds of processor time for one
}

// round sets clients up and deletes their allocations.
func (r *registrar) round(b *testing.B) {
	b.Helper()
	l := r.server.open(b, setUpSessions, 64, setUpInFlight)
	before := r.server.cpu(b)
	done, err := l.SetUp(b.Context())
	spent := r.server.cpu(b) - before
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if closed := l.Close(ctx); err == nil {
		err = closed
	}
	if err != nil {
		b.Fatalf("%s: %v", r.server.name, err)
	}
	rate, cost := float64(done.Count)/done.Took.Seconds(), float64(spent)/1e3/float64(done.Count)
	r.rate, r.cost = append(r.rate, rate), append(r.cost, cost)
	fmt.Fprintf(os.Stderr, "%-9s %6.0f set-ups/s, %5.1f us/set-up, %.0f a processor's second; p50 %v p99 %v, %d retransmissions\n",
		r.server.name, rate, cost, 1e6/cost, short(done.Latency.Quantile(0.5)), short(done.Latency.Quantile(0.99)), done.Retransmissions)
}
