package ua

import (
	"errors"
	"net"
	"slices"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// dialog is the state that both sides of a dialog share (RFC 3261 section 12).
type dialog struct {
	callID              string
	localTag, remoteTag string
	local               sip.FromHeader // without tag
	remote              sip.ToHeader   // without tag
	target              sip.Uri        // where requests go: the peer's Contact
	routes              []sip.Uri
	seq                 uint32 // CSeq of our last request
	destination         string // overrides where requests are sent, "" otherwise
}

func dialogKey(callID, localTag string) string { return callID + "\x00" + localTag }

func (d *dialog) key() string { return dialogKey(d.callID, d.localTag) }

// establish takes the peer's half of the dialog from its INVITE or its response to ours.
func (d *dialog) establish(m sip.Message, tag string) error {
	contact := m.GetHeaders("Contact")
	if len(contact) != 1 {
		return errors.New("the peer gave no single Contact")
	}
	h, ok := contact[0].(*sip.ContactHeader)
	if !ok {
		return errors.New("the peer's Contact cannot be read")
	}
	d.remoteTag, d.target = tag, *h.Address.Clone()
	d.routes = nil
	for _, h := range m.GetHeaders("Record-Route") {
		if r, ok := h.(*sip.RecordRouteHeader); ok {
			d.routes = append(d.routes, *r.Address.Clone())
		}
	}
	if _, response := m.(*sip.Response); response {
		slices.Reverse(d.routes) // RFC 3261 section 12.1.2
	}
	return nil
}

// request builds a request within the dialog. seq is given for ACK, which has that of its INVITE.
func (u *UA) request(d *dialog, method sip.RequestMethod, seq uint32) *sip.Request {
	req := sip.NewRequest(method, d.target)
	for _, uri := range d.routes {
		req.AppendHeader(&sip.RouteHeader{Address: uri})
	}
	from := d.local
	from.Params = sip.HeaderParams{{K: "tag", V: d.localTag}}
	to := d.remote
	if d.remoteTag != "" {
		to.Params = sip.HeaderParams{{K: "tag", V: d.remoteTag}}
	}
	callID := sip.CallIDHeader(d.callID)
	req.AppendHeader(&from)
	req.AppendHeader(&to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	req.AppendHeader(sip.NewHeader("User-Agent", u.config.Name))
	req.SetTransport(u.transportParam())
	u.from(req)
	if d.destination != "" {
		req.SetDestination(d.destination)
	}
	return req
}

// from has a request leave from the address we listen on: on UDP from the very socket, otherwise from a port of that
// address.
func (u *UA) from(req *sip.Request) {
	req.Laddr = sip.Addr{IP: net.IP(u.addr.Addr().AsSlice())}
	if u.network == "udp" {
		req.Laddr.Port = int(u.addr.Port())
	}
}

// contact is where we want the requests of the dialog.
func (u *UA) contact() *sip.ContactHeader {
	return &sip.ContactHeader{Address: u.uri(u.config.Name)}
}

// asBuilt sends a request with nothing added but a Via.
func asBuilt(c *sipgo.Client, req *sip.Request) error {
	if req.Via() == nil {
		if err := sipgo.ClientRequestAddVia(c, req); err != nil {
			return err
		}
	}
	if req.MaxForwards() == nil {
		hops := sip.MaxForwardsHeader(70)
		req.AppendHeader(&hops)
	}
	if req.ContentLength() == nil {
		req.SetBody(req.Body())
	}
	return nil
}
