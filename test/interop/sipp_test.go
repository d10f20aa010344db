package interop

import (
	"bytes"
	"path/filepath"
	"testing"
	"text/template"

	"causeway/test/rig/sipp"
)

// scenario is what the templates in testdata/sipp are filled with.
type scenario struct {
	File string // testdata/sipp/FILE.xml

	RequestURI, From, To string
	Payloads             string   // of the caller's offer; "0 8 101" when empty
	SDP                  []string // media lines of the caller's offer instead of the usual
	Code                 int      // of a refusal
	Phrase               string
	Headers              []string // of a refusal
	Ring, Hold           int      // ms
	Hangup               bool     // the gateway hangs up, not the caller
}

// startSIPp runs SIPp with a template of testdata/sipp.
func startSIPp(t *testing.T, r sipp.Role, s scenario) *sipp.Peer {
	t.Helper()
	if s.Payloads == "" {
		s.Payloads = "0 8 101"
	}
	if s.From == "" {
		s.From = `"+1 Caller" <sip:+14255550100@example.com>`
	}
	if s.RequestURI == "" {
		s.RequestURI = "sip:+14255550123@" + r.Target
	}
	if s.To == "" {
		s.To = "<" + s.RequestURI + ">"
	}
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "sipp", s.File+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := tmpl.Execute(&text, s); err != nil {
		t.Fatal(err)
	}
	return sipp.Start(t, r, text.String())
}
