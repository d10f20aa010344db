package attack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

// holdings is what clients take while they are there, and give back.
type holdings struct {
	Allocations, Streams, Pending, Goroutines, Descriptors, Resident int
}

func (r *relay) holdings() holdings {
	r.t.Helper()
	m := r.metrics()
	return holdings{
		Allocations: len(r.allocations()),
		Streams:     int(m.value(r.t, prefix+"stream_clients")),
		Pending:     int(m.value(r.t, prefix+"connections_pending")),
		Goroutines:  int(m.value(r.t, "go_goroutines")),
		Descriptors: r.Descriptors(),
		Resident:    r.resident(),
	}
}

// resident is VmRSS in bytes.
func (r *relay) resident() int {
	r.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.PID()))
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kB, err := strconv.Atoi(strings.Fields(value)[0])
			if err != nil {
				r.t.Fatal(err)
			}
			return kB << 10
		}
	}
	r.t.Fatal("no VmRSS")
	return 0
}

// slack is by how much the resident memory may differ: what the Go runtime keeps for the next allocations. The tests see
// to it that an attack which is remembered takes more.
const slack = 8 << 20

// whileServing runs an attack while a well-behaved client uses the relay. The client loses nothing of what the kernel has
// handed over, another one is served afterwards, and the relay holds no more then than before.
//
// The attack is a test of its own: the attackers' sockets are closed when it is over.
func (r *relay) whileServing(t *testing.T, attack func(t *testing.T)) {
	t.Helper()
	b := r.bystander(t)
	before := r.holdings()
	t.Run("attack", attack)
	b.leave(t)
	r.serves(t)
	during := r.holdings()
	r.settled(t, before)
	t.Logf("resident memory: %d KB before, %d KB at the end of the attack, %d KB when all was over",
		before.Resident>>10, during.Resident>>10, r.resident()>>10)
}

// settled ends what the attack has left and waits until the relay holds no more than before.
func (r *relay) settled(t *testing.T, before holdings) {
	t.Helper()
	memory := slack
	if r.checked {
		memory = 1 << 40 // the race detector keeps shadows of what was
	}
	rig.Eventually(t, 20*time.Second, "what the attack took comes back", func() string {
		r.endAllocations()
		now := r.holdings()
		// A connection of the scrape itself may be closing, hence one or two.
		if now.Allocations == 0 && now.Streams == 0 && now.Pending == 0 && now.Goroutines <= before.Goroutines+2 &&
			now.Descriptors <= before.Descriptors+1 && now.Resident <= before.Resident+memory {
			return ""
		}
		return fmt.Sprintf("%+v, before %+v", now, before)
	})
}
