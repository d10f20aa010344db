package turnload

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"causeway/bench/turnload"
)

const (
	manyAllocations = 10_000
	// memoryLimit is what an allocation may cost, in bytes, besides what the kernel keeps for its socket.
	memoryLimit = 2048
)

// Ten thousand clients, each a user of its own with an allocation, a permission, a channel, and a stream of voice each
// way that the relay has measured.
func TestMemoryOfAllocations(t *testing.T) {
	if raced {
		t.Skip("the race detector would see the generator alone, and has no part in what is measured")
	}
	n := min(manyAllocations, descriptors(t)-1000)
	if n < 1000 {
		t.Skipf("the limit of %d descriptors is too low for allocations that show in a process's memory", n+1000)
	}
	grown := memoryOf(t, startCauseway(t, launch{core: -1, rest: true}), n)
	if grown > memoryLimit {
		t.Errorf("an allocation takes %.0f bytes, the limit is %d", grown, memoryLimit)
	}
}

// BenchmarkMemory compares what an allocation takes in memory.
func BenchmarkMemory(b *testing.B) {
	n := min(manyAllocations, descriptors(b)-1000)
	for _, c := range []struct {
		name  string
		start func(testing.TB, launch) *server
		env   map[string]string
	}{
		{"causeway", startCauseway, nil},
		{"causeway/GOGC=100", startCauseway, map[string]string{"GOGC": "100"}}, // Go's default; causeway has its own
		{"coturn", startCoturn, nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				b.ReportMetric(memoryOf(b, c.start(b, launch{core: -1, rest: true, env: c.env}), n), "bytes/allocation")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// descriptors is how many the server and this process may each have open.
func descriptors(t testing.TB) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Max, 1<<20))
}

// memoryOf returns by how many bytes the server's memory grows with each of n allocations.
func memoryOf(t testing.TB, s *server, n int) float64 {
	t.Helper()
	before := s.memory(t)
	l := s.load(t, n, 64, 64)
	done, err := l.SetUp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idle := s.memory(t)
	report, err := l.Run(t.Context(), turnload.Traffic{Rate: 1, Duration: 5 * time.Second, Tick: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	after := s.memory(t)
	each := func(m turnload.Memory) float64 {
		return float64(int64(m.Anonymous)-int64(before.Anonymous)) / float64(n)
	}
	grown := float64(int64(after.Resident)-int64(before.Resident)) / float64(n)
	t.Logf("%s: %d set-ups in %v; %.1f MB before, %.1f MB after; of an allocation %.0f bytes, %.0f of them its own memory (%.0f before traffic)",
		s.name, done.Count, done.Took, float64(before.Resident)/1e6, float64(after.Resident)/1e6, grown, each(after), each(idle))
	if report.Strange > 0 {
		t.Errorf("%d packets were not what had been sent", report.Strange)
	}
	if lost := report.ToPeer.Sent + report.ToClient.Sent - report.Delivered() - report.Overflowed; lost > 0 {
		t.Errorf("%d packets of %d were lost", lost, report.ToPeer.Sent+report.ToClient.Sent)
	}
	return grown
}
