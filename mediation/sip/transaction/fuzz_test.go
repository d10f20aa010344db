package transaction

import (
	"errors"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// FuzzMachines: the first byte chooses a machine, every other one what happens
// to it; the machine must do as its figure.
func FuzzMachines(f *testing.F) {
	for kind := range byte(8) {
		f.Add([]byte{kind})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 200 {
			return
		}
		m := newMachine(t, int(data[0]&7))
		for _, b := range data[1:] {
			m.play(happenings[int(b)%len(happenings)])
		}
	})
}

// FuzzMessages: whatever can be parsed has a key or an error, always the same
// one, and no machine falls over it.
func FuzzMessages(f *testing.F) {
	f.Add([]byte("OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a>\r\nTo: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		msg, err := sip.NewParser().ParseSIP(data)
		if err != nil {
			return
		}
		key, err := ClientKey(msg)
		if again, e := ClientKey(msg); again != key || !errors.Is(e, err) || (key == "") != (err != nil) {
			t.Fatalf("%q, %v, then %q, %v", key, err, again, e)
		}
		switch msg := msg.(type) {
		case *sip.Request:
			fuzzRequest(t, msg)
		case *sip.Response:
			fuzzResponse(t, msg)
		}
	})
}

func fuzzRequest(t *testing.T, req *sip.Request) {
	key, err := ServerKey(req)
	if (key == "") != (err != nil) {
		t.Fatalf("key %q, %v", key, err)
	}
	if cancel, _ := CancelKey(req); req.Method == sip.INVITE && cancel != key {
		t.Fatalf("key %q, as of its CANCEL %q", key, cancel)
	}
	s := NewServer(req, false, began)
	s.Receive(began, req)
	if s.Respond(began, response(request(t, sip.INVITE), 404, "a")) {
		s.Receive(began, req)
	}
	c := NewClient(req, false, began)
	c.Receive(began, response(request(t, sip.INVITE), 404, "a"))
	if req.Via() == nil || req.CSeq() == nil || req.Method != sip.INVITE {
		return
	}
	res := sip.NewResponse(404, "Not Found")
	sip.CopyHeaders("Via", req, res)
	sip.CopyHeaders("CSeq", req, res)
	if to := req.To(); to != nil {
		res.AppendHeader(sip.HeaderClone(to))
	}
	if _, ack := c.Receive(began, res); ack != nil {
		if got, err := ServerKey(ack); err != nil && key != "" && req.From() != nil && req.CallID() != nil {
			t.Fatalf("key of the ACK %q, %v; of the INVITE %q", got, err, key)
		}
		_ = ack.String()
	}
}

func fuzzResponse(t *testing.T, res *sip.Response) {
	for _, method := range []sip.RequestMethod{sip.INVITE, sip.BYE} {
		c := NewClient(request(t, method), false, began)
		if up, ack := c.Receive(began, res); ack != nil && !up {
			t.Fatal("the first failure has an ACK and does not go up")
		}
		NewServer(request(t, method), false, began).Respond(began, res)
	}
}
