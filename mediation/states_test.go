package mediation

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"causeway/mediation/sip"
)

var update = flag.Bool("update", false, "write the documents that are made of tables anew")

const statesPage = "../docs/call-states.md"

// TestStatesPage holds docs/call-states.md to the tables that run.
func TestStatesPage(t *testing.T) {
	page := statesText()
	if *update {
		if err := os.WriteFile(statesPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(statesPage)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != page {
		t.Error("docs/call-states.md is not what the tables say; make it with: go test ./mediation -run TestStatesPage -update")
	}
}

func statesText() string {
	var b strings.Builder
	b.WriteString(`# The states of a call

Made from the tables in ` + "`mediation/transitions.go`" + `, which are what runs; ` + "`TestStatesPage`" + ` holds this page to them.

A call is two legs, the caller's and the callee's, each a SIP session of its own, and the media bridge between them. It
has one goroutine. Events of both sessions, the ring timer and orders to stop reach it one after the other, through a
mailbox that nobody waits at: when more than ` + fmt.Sprint(mailboxSize) + ` events are in it, provisional responses without a description are given
up first, then INFO, then other provisional responses, and counted (` + "`call_events_dropped_total`" + `).

## Phases

`)
	for p, what := range []string{
		inviting:   "the callee is being called",
		answered:   "200 sent to the caller, its ACK outstanding; or held back behind a PRACK",
		talking:    "confirmed on both legs",
		cancelling: "the caller's leg is over, the callee's INVITE is not finished",
		over:       "the record is written, the media ports are given back, nothing more is said",
	} {
		fmt.Fprintf(&b, "- `%s`: %s\n", phase(p), what)
	}
	b.WriteString("\n| in | from | event | what is done | then |\n| --- | --- | --- | --- | --- |\n")
	for _, t := range transitions {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", codes(t.in), parties(t.from), code(t.on), t.does, codes(t.next))
	}
	b.WriteString(`
An empty last column: the phase stays. What is not in the table means nothing there; it is ignored and counted
(` + "`call_events_ignored_total`" + `). The record is written, and the media closed, when the call's fate is known: on the way to
` + "`cancelling`" + ` or ` + "`over`" + `.

## Offers and answers of one leg

Inside an answered call each leg has an offer state of its own (RFC 3264, RFC 6337).

`)
	for e, what := range []string{
		stable:      "the last offer has its answer",
		weOffered:   "our offer has none yet: in the INVITE to the callee, in a response to a caller whose INVITE had none, or in a re-offer; or it waits after 491",
		theyOffered: "the offer in the caller's INVITE has none yet",
	} {
		fmt.Fprintf(&b, "- `%s`: %s\n", exchange(e), what)
	}
	b.WriteString("\n| in | event | what is done | then |\n| --- | --- | --- | --- |\n")
	for _, m := range exchanges {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", codes(m.in), code(m.on), m.does, codes(m.next))
	}
	b.WriteString(`
- ` + "`offered`" + ` and ` + "`asked_for_offer`" + ` are a re-INVITE or UPDATE with an offer and without; ` + "`will_differs`" + ` is our own: after
  everything that happens in ` + "`talking`" + ` each leg is looked at, and whoever has not heard what the other peer wants is told.
- A peer's will is two bits: does it want to send, to receive. An offer of its own sets both; an answer sets those that
  our offer asked for. The address 0.0.0.0 is a will not to receive, whatever the attribute says (RFC 3264 8.4); it never
  crosses. What we offer one peer is the will of the other, and what we answer is as much of it as the offer leaves room
  for. A peer that does not want to receive is sent nothing but RTCP.
- Address, port, codec and keys are one leg's own business. Our key stays while the peer offers the suite in use. SRTP is
  never given up: an offer or answer without it, on a leg that has it, cannot be used.
- Our ` + "`o=`" + ` line keeps its session id; its version grows when, and only when, what follows is different.
- One change by a peer leads to ` + fmt.Sprint(maxCarried) + ` re-offers of ours at most.
`)
	return b.String()
}

func code(s fmt.Stringer) string { return "`" + s.String() + "`" }

func codes[T fmt.Stringer](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = code(v)
	}
	return strings.Join(out, ", ")
}

func parties(list []party) string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return strings.Join(out, ", ")
}

// TestTablesAreSound: no pair has two lines, every line is reachable in kind,
// and every event of a session has a line somewhere.
func TestTablesAreSound(t *testing.T) {
	n := 0
	for _, tr := range transitions {
		n += len(tr.in) * len(tr.from)
		if tr.does == "" || tr.do == nil {
			t.Errorf("%v %s: nothing is done", tr.in, tr.on)
		}
	}
	if n != len(transitionsBy) {
		t.Errorf("%d pairs in the table, %d in the index", n, len(transitionsBy))
	}
	n = 0
	for _, m := range exchanges {
		n += len(m.in)
	}
	if n != len(movesBy) {
		t.Errorf("%d moves in the table, %d in the index", n, len(movesBy))
	}
	for on := range asked {
		if !slices.ContainsFunc(transitions, func(tr transition) bool { return tr.on == on }) {
			t.Errorf("%s is in no line", on)
		}
	}
	if stimulus(sip.Info)+1 != ringTimeout {
		t.Error("our own stimuli run into the sessions' events")
	}
}
