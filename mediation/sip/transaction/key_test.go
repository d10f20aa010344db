package transaction

import (
	"errors"
	"testing"

	"github.com/emiago/sipgo/sip"
)

func mustKey(t *testing.T, msg sip.Message) string {
	t.Helper()
	key, err := ClientKey(msg)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func serverKeyOf(t *testing.T, req *sip.Request) string {
	t.Helper()
	key, err := ServerKey(req)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// RFC 3261 17.2.3, with branches that are unique.
func TestServerKeyUnique(t *testing.T) {
	const via = "SIP/2.0/UDP client.example.com:5062;branch=" + branch
	invite := serverKeyOf(t, requestOf(t, "INVITE", via, "7 INVITE"))
	for _, same := range []struct{ what, method, via, cseq string }{
		{"again", "INVITE", via, "7 INVITE"},
		{"ACK", "ACK", via, "7 ACK"},
		{"more parameters", "INVITE", "SIP/2.0/UDP client.example.com:5062;rport=9;received=192.0.2.9;branch=" + branch, "7 INVITE"},
		{"host in capitals", "INVITE", "SIP/2.0/UDP CLIENT.example.com:5062;branch=" + branch, "7 INVITE"},
		{"name in capitals", "INVITE", "SIP/2.0/UDP client.example.com:5062;Branch=" + branch, "7 INVITE"},
	} {
		if got := serverKeyOf(t, requestOf(t, same.method, same.via, same.cseq)); got != invite {
			t.Errorf("%s: %q, want %q", same.what, got, invite)
		}
	}
	for _, other := range []struct{ what, method, via, cseq string }{
		{"CANCEL", "CANCEL", via, "7 CANCEL"},
		{"OPTIONS", "OPTIONS", via, "7 OPTIONS"},
		{"branch", "INVITE", via + "x", "7 INVITE"},
		{"host", "INVITE", "SIP/2.0/UDP other.example.com:5062;branch=" + branch, "7 INVITE"},
		{"port", "INVITE", "SIP/2.0/UDP client.example.com:5063;branch=" + branch, "7 INVITE"},
		{"no port", "INVITE", "SIP/2.0/UDP client.example.com;branch=" + branch, "7 INVITE"},
	} {
		if got := serverKeyOf(t, requestOf(t, other.method, other.via, other.cseq)); got == invite {
			t.Errorf("%s: the key of the INVITE", other.what)
		}
	}
	cancel := requestOf(t, "CANCEL", via, "7 CANCEL")
	if got, err := CancelKey(cancel); err != nil || got != invite {
		t.Errorf("CancelKey %q, %v; want %q", got, err, invite)
	}
	// The port that a transport has when none is written.
	for transport, port := range map[string]string{"UDP": "5060", "TCP": "5060", "TLS": "5061"} {
		with := requestOf(t, "BYE", "SIP/2.0/"+transport+" h.example.com:"+port+";branch="+branch, "1 BYE")
		without := requestOf(t, "BYE", "SIP/2.0/"+transport+" h.example.com;branch="+branch, "1 BYE")
		if serverKeyOf(t, with) != serverKeyOf(t, without) {
			t.Errorf("%s: port %s is another sent-by than none", transport, port)
		}
	}
}

// RFC 3261 17.2.3, for peers that stand on RFC 2543.
func TestServerKeyOld(t *testing.T) {
	for _, via := range []string{
		"SIP/2.0/UDP client.example.com",
		"SIP/2.0/UDP client.example.com;branch=1",
		"SIP/2.0/UDP client.example.com;branch=" + cookie, // the cookie alone tells nothing
		"SIP/2.0/UDP client.example.com;branch=Z9HG4BKxyz",
		"SIP/2.0/UDP client.example.com;branch=1;hidden",
	} {
		req := requestOf(t, "INVITE", via, "7 INVITE")
		invite := serverKeyOf(t, req)
		same := map[string]*sip.Request{
			"again":               requestOf(t, "INVITE", via, "7 INVITE"),
			"ACK":                 requestOf(t, "ACK", via, "7 ACK"),
			"what we write on it": requestOf(t, "INVITE", via+";received=192.0.2.1;rport=5061", "7 INVITE"),
			"our To tag":          requestOf(t, "INVITE", via, "7 INVITE"),
		}
		same["our To tag"].To().Params.Add("tag", "ours")
		for what, r := range same {
			if got := serverKeyOf(t, r); got != invite {
				t.Errorf("%s, %s: %q, want %q", via, what, got, invite)
			}
		}
		if got, err := CancelKey(requestOf(t, "CANCEL", via, "7 CANCEL")); err != nil || got != invite {
			t.Errorf("CancelKey %q, %v; want %q", got, err, invite)
		}
		other := map[string]*sip.Request{
			"BYE":           requestOf(t, "BYE", via, "7 BYE"),
			"CANCEL":        requestOf(t, "CANCEL", via, "7 CANCEL"),
			"number":        requestOf(t, "INVITE", via, "8 INVITE"),
			"via parameter": requestOf(t, "INVITE", via+";maddr=192.0.2.1", "7 INVITE"),
			"sent-by":       requestOf(t, "INVITE", "SIP/2.0/UDP other.example.com;branch=1", "7 INVITE"),
			"Request-URI":   requestOf(t, "INVITE", via, "7 INVITE"),
			"From tag":      requestOf(t, "INVITE", via, "7 INVITE"),
			"Call-ID":       requestOf(t, "INVITE", via, "7 INVITE"),
		}
		other["Request-URI"].Recipient.User = "carol"
		other["From tag"].From().Params.Add("tag", "x")
		*other["Call-ID"].CallID() += "x"
		for what, r := range other {
			if got := serverKeyOf(t, r); got == invite {
				t.Errorf("%s, %s: the key of the INVITE", via, what)
			}
		}
	}
}

// Nothing that a peer writes makes the key of another transaction.
func TestKeysCannotBeForged(t *testing.T) {
	if join("a", "b") == join("ab") || join("1:a", "b") == join("1", "a1:b") {
		t.Error("two lists, one key")
	}
	a := requestOf(t, "INVITE", "SIP/2.0/UDP h.example.com;branch="+branch, "1 INVITE")
	b := requestOf(t, "INVITE", "SIP/2.0/UDP h.example.com;branch="+branch+"INVITE", "1 INVITE")
	if mustKey(t, a) == mustKey(t, b) || serverKeyOf(t, a) == serverKeyOf(t, b) {
		t.Error("two branches, one key")
	}
}

func TestKeyErrors(t *testing.T) {
	old := func(without string) *sip.Request {
		req := requestOf(t, "INVITE", "SIP/2.0/UDP h.example.com", "1 INVITE")
		for req.RemoveHeader(without) {
		}
		return req
	}
	for header, want := range map[string]error{"Via": ErrNoVia, "CSeq": ErrNoCSeq, "Call-ID": ErrNoCallID, "From": ErrNoFrom} {
		if _, err := ServerKey(old(header)); !errors.Is(err, want) {
			t.Errorf("ServerKey without %s: %v", header, err)
		}
		if _, err := CancelKey(old(header)); !errors.Is(err, want) {
			t.Errorf("CancelKey without %s: %v", header, err)
		}
	}
	for header, want := range map[string]error{"Via": ErrNoVia, "CSeq": ErrNoCSeq, "From": ErrNoBranch} {
		if _, err := ClientKey(old(header)); !errors.Is(err, want) {
			t.Errorf("ClientKey without %s: %v", header, err)
		}
	}
	// A unique branch needs nothing else.
	req := request(t, sip.INVITE)
	for _, h := range []string{"From", "To", "Call-ID", "CSeq"} {
		req.RemoveHeader(h)
	}
	if _, err := ServerKey(req); err != nil {
		t.Error(err)
	}
}

func TestStateNames(t *testing.T) {
	for s := Calling; s <= Terminated; s++ {
		if s.String() == "" || s.String() == "unknown" {
			t.Errorf("state %d has no name", s)
		}
	}
	if State(200).String() != "unknown" {
		t.Error("state 200 has a name")
	}
}
