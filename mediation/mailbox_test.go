package mediation

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"causeway/mediation/sip"
)

// TestMailboxKeepsWhatCounts: a flood of what a call can do without takes
// nothing else with it, and what stays is in order.
func TestMailboxKeepsWhatCounts(t *testing.T) {
	m := newMailbox()
	var dropped int
	put := func(ev sip.Event) {
		open, gone, over := m.put(letter{theCallee, ev})
		if !open || over {
			t.Fatalf("open %t, over %t", open, over)
		}
		if gone {
			dropped++
		}
	}
	early := []byte("v=0")
	put(sip.Event{Kind: sip.Progress, SDP: early})
	for range 1000 {
		put(sip.Event{Kind: sip.Progress})
		put(sip.Event{Kind: sip.Info})
	}
	put(sip.Event{Kind: sip.Answered})
	put(sip.Event{Kind: sip.Ended})
	var kinds []sip.EventKind
	for {
		l, ok := m.take()
		if !ok {
			break
		}
		kinds = append(kinds, l.ev.Kind)
	}
	if len(kinds) != mailboxSize || dropped != 2003-mailboxSize {
		t.Errorf("%d kept, %d dropped", len(kinds), dropped)
	}
	if kinds[0] != sip.Progress || !slices.Equal(kinds[len(kinds)-2:], []sip.EventKind{sip.Answered, sip.Ended}) {
		t.Errorf("kept %v", kinds)
	}
	m.shut()
	if open, _, _ := m.put(letter{}); open {
		t.Error("open after shut")
	}
}

// TestMailboxOracle: against a list that keeps everything; what is lost is
// dispensable, and never while there is room.
func TestMailboxOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMailbox()
		var all []letter
		n := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.IntRange(0, 3).Draw(t, "take") == 0 {
				if l, ok := m.take(); ok {
					for len(all) > 0 && all[0].ev.Code != l.ev.Code { // those before it were dropped
						if k := all[0].ev.Kind; k != sip.Progress && k != sip.Info {
							t.Fatalf("%s lost", k)
						}
						all = all[1:]
					}
					all = all[1:]
				}
				continue
			}
			n++
			ev := sip.Event{Kind: sip.EventKind(rapid.IntRange(0, int(sip.Info)).Draw(t, "kind")), Code: n}
			before := len(m.letters)
			_, dropped, over := m.put(letter{ev: ev})
			all = append(all, letter{ev: ev})
			if dropped && before < mailboxSize {
				t.Fatalf("dropped with %d waiting", before)
			}
			if over {
				return // the call is ended
			}
			if len(m.letters) > mailboxLimit {
				t.Fatalf("%d waiting", len(m.letters))
			}
		}
	})
}

// TestFullMailboxEndsTheCall: a session that breaks its word ends its call.
func TestFullMailboxEndsTheCall(t *testing.T) {
	r, _ := connected(t, rigOptions{})
	post := r.call.post(theCaller)
	for range mailboxLimit + 1 {
		post(sip.Event{Kind: sip.Offered})
	}
	select {
	case why := <-r.call.stop:
		if why == "" {
			t.Error("no reason")
		}
	default:
		t.Error("the call goes on")
	}
}
