package sip

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

var passageNames = []struct {
	in   passage
	name string
}{
	{inInvite, "INVITE"}, {inProgress, "18x"}, {inAnswer, "2xx"}, {inFailure, "failure"}, {inBye, "BYE"}, {inCancel, "CANCEL"},
}

func (p passage) String() string {
	var names []string
	for _, n := range passageNames {
		if p&n.in != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ", ")
}

func headersPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/headers.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestTableOfHeaders: docs/headers.md has the table of the code.
func TestTableOfHeaders(t *testing.T) {
	var want strings.Builder
	want.WriteString("| header | in | values | what is changed | RFC |\n| --- | --- | --- | --- | --- |\n")
	for _, line := range carriedHeaders {
		want.WriteString("| " + strings.Join([]string{line.name, line.in.String(), strconv.Itoa(line.most), line.change, line.rfc}, " | ") + " |\n")
	}
	if !strings.Contains(headersPage(t), want.String()+"\n") {
		t.Errorf("docs/headers.md has another table than the code:\n%s", want.String())
	}
}

// sample is a value of each header that is carried, in its shortest form.
var sample = map[string]string{
	"P-Asserted-Identity": "<sip:+14255550100@192.0.2.9>",
	"Privacy":             "id",
	"Diversion":           "<sip:+14255550100@192.0.2.9>;reason=no-answer",
	"History-Info":        "<sip:+14255550100@192.0.2.9>;index=1",
	"Reason":              "Q.850;cause=16",
	"User-to-User":        "00abcd;encoding=hex",
	"P-Early-Media":       "supported",
	"Warning":             `399 192.0.2.9 "no circuit"`,
	"Retry-After":         "18",
}

// TestWhereHeadersAreCarried: each header of the table is carried in the
// messages that the table says, and in no other; so is none in what has no line.
func TestWhereHeadersAreCarried(t *testing.T) {
	kinds := map[string]passage{
		"INVITE": inInvite, "101": inProgress, "180": inProgress, "183": inProgress, "199": inProgress, "200": inAnswer, "202": inAnswer,
		"302": inFailure, "486": inFailure, "503": inFailure, "603": inFailure, "BYE": inBye, "CANCEL": inCancel,
		"100": 0, "re-INVITE": 0, "ACK": 0, "UPDATE": 0, "INFO": 0, "PRACK": 0, "OPTIONS": 0, "REFER": 0, "200 to BYE": 0, "486 to UPDATE": 0,
	}
	for name, kind := range kinds {
		for _, line := range carriedHeaders {
			msg := messageOf(t, name, Header{line.name, sample[line.name]})
			got := Carry(msg, true, Numbering{}, gatewayHop, "192.0.2.2")
			if want := line.in&kind != 0; (len(got) == 1) != want || want && got[0].Name != line.name {
				t.Errorf("%s in %s: carried %v, want it carried: %v", line.name, name, got, want)
			}
		}
	}
}

// TestWhatStaysOnItsSide: what docs/headers.md says stays does, in every kind
// of message.
func TestWhatStaysOnItsSide(t *testing.T) {
	_, table, found := strings.Cut(headersPage(t), "## What stays on its side\n")
	if !found {
		t.Fatal("docs/headers.md has no such section")
	}
	n := 0
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 || strings.Contains(cells[1], "---") || strings.TrimSpace(cells[1]) == "header" {
			continue
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			name = strings.TrimSpace(name)
			n++
			if sample[name] != "" {
				t.Errorf("%s is in both tables", name)
			}
			switch name {
			case "Via", "Contact", "Call-ID", "CSeq", "From", "To", "Max-Forwards", "Route", "Record-Route", "Refer-To", "Referred-By":
				continue // sipgo's own types, which every message has or may have
			}
			for _, kind := range []string{"INVITE", "183", "200", "486", "BYE", "CANCEL"} {
				if got := Carry(messageOf(t, kind, Header{name, "1"}), false, Numbering{}, gatewayHop, "192.0.2.2"); len(got) != 0 {
					t.Errorf("%s in %s: carried %v", name, kind, got)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("%d headers in the table", n)
	}
}
