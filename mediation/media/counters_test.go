package media

import (
	"strings"
	"testing"

	"causeway/internal/netio"
)

// counter adds up the counters of a name that have all of the labels' values.
func counter(p *Plane, name string, labels ...string) (sum uint64) {
next:
	for _, c := range p.Counters() {
		if c.Name != name {
			continue
		}
		for i, l := range labels {
			if i >= len(c.Labels) || c.Labels[i].Value != l {
				continue next
			}
		}
		sum += c.Value
	}
	return sum
}

func TestCounters(t *testing.T) {
	r := bothSet(t)
	names := map[string]bool{}
	for _, c := range r.plane.Counters() {
		key := c.Name
		for _, l := range c.Labels {
			key += "," + l.Name + "=" + l.Value
			if l.Value == "" {
				t.Errorf("%s has a label without a value", c.Name)
			}
		}
		if names[key] || c.Help == "" || c.Value != 0 && c.Name != "bridges_opened_total" {
			t.Errorf("%s: twice, without help, or not zero: %+v", key, c)
		}
		names[key] = true
	}
	if want := 4 + 2*(8+int(dropCount)-1); len(names) != want {
		t.Errorf("%d series, want %d from the start", len(names), want)
	}
	for i := range 10 {
		r.in(Pool, talk(i, 7).bytes())
	}
	r.in(Pool, []byte{1})
	r.b.halves[Pool].sendReport(r.now, false)
	r.inRTCP(Pool, appendReport(nil, 7, nil, nil))
	r.b.Close()
	if n := r.b.worker.wheel.Len(); n != 0 {
		t.Errorf("%d timers of a closed bridge are set", n)
	}
	for _, tt := range []struct {
		want   uint64
		name   string
		labels []string
	}{
		{1, "bridges_opened_total", nil},
		{10, "rtp_packets_received_total", []string{"pool"}},
		{0, "rtp_packets_received_total", []string{"gateway"}},
		{10, "rtp_packets_sent_total", []string{"gateway"}},
		{10 * frame, "rtp_payload_bytes_sent_total", []string{"gateway"}},
		{10 * frame, "rtp_payload_bytes_received_total", nil},
		{1, "dropped_packets_total", nil},
		{1, "dropped_packets_total", []string{"pool", "short"}},
		{1, "rtcp_packets_received_total", nil},
		{3, "rtcp_packets_sent_total", nil}, // one, and two goodbyes
	} {
		if got := counter(r.plane, tt.name, tt.labels...); got != tt.want {
			t.Errorf("%s %v is %d, want %d", tt.name, tt.labels, got, tt.want)
		}
	}
}

func TestDropNames(t *testing.T) {
	seen := map[string]bool{}
	for d := passed + 1; d < dropCount; d++ {
		name := d.String()
		if name == "" || seen[name] || strings.ToLower(name) != name || strings.ContainsAny(name, " -") {
			t.Errorf("drop %d is called %q", d, name)
		}
		seen[name] = true
	}
	if dropCount.String() != "" || passed.String() != "" {
		t.Error("what is no drop has a name")
	}
}

// What the ports count below shows among the leg's drops.
func TestPortCountersBecomeDrops(t *testing.T) {
	r := bothSet(t)
	r.port(Pool).counters = netio.PortCounters{Overflowed: 3, Unreachable: 4, Unsent: 5}
	r.rtcpPort(Pool).counters = netio.PortCounters{Overflowed: 1}
	for range 2 {
		st := r.b.Stats()[Pool]
		if st.Receive.Drops["kernel_overflow"] != 4 || st.Send.Drops["unreachable"] != 4 || st.Send.Drops["unsent"] != 5 {
			t.Errorf("%v, %v", st.Receive.Drops, st.Send.Drops)
		}
		if got := counter(r.plane, "dropped_packets_total"); got != 13 {
			t.Errorf("%d drops counted", got)
		}
	}
}
