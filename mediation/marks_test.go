package mediation

import (
	"testing"
	"time"

	"causeway/bench/ua"
	"causeway/internal/conf"
	"causeway/mediation/media"
	"causeway/qos"
)

// TestMarks: qos_enabled (seed-facts M14) marks audio EF on both legs, SRTP
// and RTP alike (S3); without it nothing is marked.
func TestMarks(t *testing.T) {
	for _, on := range []bool{false, true} {
		s := newTestServer(t, func(m *conf.Mediation) { m.QoSEnabled, m.Pool.SRTP = on, "required" })
		answered := make(chan *ua.Call, 1)
		client, _ := ends(t, s, ua.Config{SRTP: ua.AES80}, ua.Config{OnInvite: func(c *ua.Call) ua.Reply {
			answered <- c
			return ua.Reply{}
		}})
		call, err := client.Call(within(t), s.uri(media.Pool, "+1"), ua.Options{HangupAfter: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		far := <-answered
		want := uint8(0)
		if on {
			want = uint8(qos.EF)
		}
		for _, end := range []*ua.Call{call, far} {
			<-end.Done()
			marks := end.Stats().Marks
			if len(marks) != 1 || marks[want] < 20 {
				t.Errorf("qos_enabled %t: marks %v, want all %d", on, marks, want)
			}
		}
	}
}
