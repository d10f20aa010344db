package sip

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// dialog is the state of RFC 3261 section 12, without I/O: what is needed to
// build the next request and to judge the next one received. The zero value
// is not usable; see newServerDialog and newClientDialog.
type dialog struct {
	callID    string
	localTag  string
	remoteTag string // "" in a client dialog until a response brought one

	// local and remote are the From and To of requests that we send, as they
	// stood in the INVITE: a number that was rewritten there stays rewritten.
	local  sip.FromHeader
	remote sip.ToHeader

	target   sip.Uri   // remote target: the peer's Contact (12.1.1, 12.2.1.2)
	routes   []sip.Uri // route set, in the order in which requests traverse it
	localSeq uint32
	// remoteSeq is the highest CSeq number received; remoteSeen is false
	// until there was one, because 0 is a legal number.
	remoteSeq  uint32
	remoteSeen bool
}

var errNoContact = errors.New("no Contact header with a SIP URI")

// newServerDialog is the dialog that an INVITE received by us creates
// (RFC 3261 12.1.1). tag is our To tag.
func newServerDialog(req *sip.Request, tag string) (*dialog, error) {
	contact := req.Contact()
	if contact == nil || !addressable(&contact.Address) {
		return nil, errNoContact
	}
	remoteTag, _ := req.From().Params.Get("tag")
	d := &dialog{
		callID:     req.CallID().Value(),
		localTag:   tag,
		remoteTag:  remoteTag,
		target:     *contact.Address.Clone(),
		localSeq:   0,
		remoteSeq:  req.CSeq().SeqNo,
		remoteSeen: true,
	}
	d.local = toAsFrom(req.To(), tag)
	d.remote = fromAsTo(req.From())
	d.routes = recordedRoute(req)
	return d, nil
}

// newClientDialog is the dialog-to-be of an INVITE that we send. establish
// completes it from a response.
func newClientDialog(invite *sip.Request) *dialog {
	tag, _ := invite.From().Params.Get("tag")
	d := &dialog{
		callID:   invite.CallID().Value(),
		localTag: tag,
		local:    *cloneFrom(invite.From()),
		remote:   *cloneTo(invite.To()),
		target:   *invite.Recipient.Clone(),
		localSeq: invite.CSeq().SeqNo,
	}
	return d
}

// establish takes tag, route set and target from a 101-299 response to our
// INVITE (RFC 3261 12.1.2). The route set is the Record-Route reversed.
func (d *dialog) establish(res *sip.Response) {
	to := res.To()
	if to == nil {
		return
	}
	if tag, ok := to.Params.Get("tag"); ok {
		d.remoteTag = tag
		d.remote.Params = to.Params.Clone()
	}
	d.routes = recordedRoute(res)
	slices.Reverse(d.routes)
	d.refresh(res.Contact())
}

// refresh replaces the remote target (RFC 3261 12.2.1.2); a message without a
// usable Contact leaves it.
func (d *dialog) refresh(contact *sip.ContactHeader) {
	if contact == nil || !addressable(&contact.Address) {
		return
	}
	d.target = *contact.Address.Clone()
}

// seqVerdict is what a received request's CSeq number says.
type seqVerdict uint8

const (
	seqNext  seqVerdict = iota // higher than all before: serve it
	seqStale                   // lower: out of order, answered 500 (RFC 3261 12.2.2)
	seqSame                    // equal: a replay that no transaction knew
)

// receive judges a request inside the dialog and remembers its number. ACK
// and CANCEL carry the number of their INVITE and are not judged here.
func (d *dialog) receive(seq uint32) seqVerdict {
	if d.remoteSeen {
		if seq < d.remoteSeq {
			return seqStale
		}
		if seq == d.remoteSeq {
			return seqSame
		}
	}
	d.remoteSeq, d.remoteSeen = seq, true
	return seqNext
}

// request builds the next request of the dialog (RFC 3261 12.2.1.1), without
// Via, which depends on the connection. For ACK seq is the INVITE's number;
// for every other method it is ignored and the next number is taken.
func (d *dialog) request(method sip.RequestMethod, seq uint32) *sip.Request {
	if method != sip.ACK {
		d.localSeq++
		seq = d.localSeq
	}
	uri := d.target
	uri.Headers = nil
	routes := d.routes
	strict := len(routes) > 0 && !routes[0].UriParams.Has("lr")
	if strict {
		// 12.2.1.1: a strict router takes the request URI's place and the
		// target becomes the last route.
		uri = routes[0]
		uri.UriParams = uri.UriParams.Clone()
		uri.UriParams.Remove("method")
		uri.Headers = nil
		routes = append(append([]sip.Uri{}, routes[1:]...), d.target)
	}
	req := sip.NewRequest(method, uri)
	for _, r := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *r.Clone()})
	}
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	req.AppendHeader(&maxForwards)
	req.AppendHeader(cloneFrom(&d.local))
	req.AppendHeader(cloneTo(&d.remote))
	callID := sip.CallIDHeader(d.callID)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

// nextHop is the URI that the next request is sent to: the first route, else
// the remote target.
func (d *dialog) nextHop() *sip.Uri {
	if len(d.routes) > 0 {
		return &d.routes[0]
	}
	return &d.target
}

// key names a dialog by what stays the same through forking: Call-ID and our
// own tag, which is unguessable and unique.
func (d *dialog) key() string { return dialogKey(d.callID, d.localTag) }

func dialogKey(callID, localTag string) string { return localTag + "\x00" + callID }

// maxForwardsInitial is the recommended value (RFC 3261 8.1.1.6).
const maxForwardsInitial = 70

// recordedRoute is the Record-Route of a message, in its order. A value that no
// request could be sent to is left out.
func recordedRoute(msg sip.Message) []sip.Uri {
	var routes []sip.Uri
	for _, h := range msg.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok && addressable(&rr.Address) {
			routes = append(routes, *rr.Address.Clone())
		}
	}
	return routes
}

// addressable says whether a URI that a peer wrote can stand in a request line.
func addressable(u *sip.Uri) bool {
	return !u.Wildcard && isSIP(u) && u.Host != "" && !strings.ContainsAny(u.String(), "<>\" \t")
}

func isSIP(u *sip.Uri) bool { return u.Scheme == "sip" || u.Scheme == "sips" || u.Scheme == "" }

func cloneFrom(h *sip.FromHeader) *sip.FromHeader {
	return &sip.FromHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
}

func cloneTo(h *sip.ToHeader) *sip.ToHeader {
	return &sip.ToHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
}

func toAsFrom(h *sip.ToHeader, tag string) sip.FromHeader {
	f := sip.FromHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
	f.Params.Add("tag", tag)
	return f
}

func fromAsTo(h *sip.FromHeader) sip.ToHeader {
	return sip.ToHeader{DisplayName: h.DisplayName, Address: *h.Address.Clone(), Params: h.Params.Clone()}
}

// hostPort is the address a SIP URI points to, with the default port of the
// transport. The host may be a name.
func hostPort(u *sip.Uri, network string) string {
	port := u.Port
	if port == 0 {
		port = sip.DefaultPort(network)
	}
	return fmt.Sprintf("%s:%d", u.Host, port)
}
