package sip

import (
	"context"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"

	"causeway/mediation/sip/locate"
)

// lifeless are the answers that say that a peer does not serve requests now.
// Every other final response to OPTIONS is life, a 404 or a 401 too (RFC 3261
// 11.2: the code is what an INVITE would have had).
var lifeless = map[int]bool{
	408: true, // 21.4.9: it, or one behind it, did not answer in time
	503: true, // 21.5.4; RFC 3263 4.3: the request is to go to the next address
}

// alive is nil when a final response shows that its sender serves requests.
func alive(res *sip.Response) error {
	if lifeless[res.StatusCode] {
		return refusal(res)
	}
	return nil
}

// probe asks a target for life by OPTIONS (RFC 3261 11). local is this side's
// URI, for From; remote is the peer's, for Request-URI and To: both without a
// user.
func probe(ex exchanger, local, remote sip.Uri) func(context.Context, locate.Target) error {
	return func(ctx context.Context, to locate.Target) error {
		res, err := ex.exchange(ctx, newOptions(local, remote, to))
		if err != nil {
			return fmt.Errorf("OPTIONS: %w", err)
		}
		if err := alive(res); err != nil {
			return fmt.Errorf("OPTIONS: %w", err)
		}
		return nil
	}
}

// newOptions is OPTIONS outside a dialog (RFC 3261 11.1).
func newOptions(local, remote sip.Uri, to locate.Target) *sip.Request {
	req := sip.NewRequest(sip.OPTIONS, *remote.Clone())
	from := &sip.FromHeader{Address: *local.Clone(), Params: sip.NewParams()}
	from.Params.Add("tag", newTag())
	callID := sip.CallIDHeader(newTag() + "@" + local.Host)
	maxForwards := sip.MaxForwardsHeader(maxForwardsInitial)
	for _, h := range []sip.Header{
		&maxForwards, from, &sip.ToHeader{Address: *remote.Clone()}, &callID,
		&sip.CSeqHeader{SeqNo: 1, MethodName: sip.OPTIONS}, &sip.ContactHeader{Address: *local.Clone()},
		sip.NewHeader("Accept", "application/sdp"),
	} {
		req.AppendHeader(h)
	}
	req.SetBody(nil)
	aim(req, to)
	return req
}

// aim says where exchange sends a request.
func aim(req *sip.Request, to locate.Target) {
	req.SetDestination(to.Addr.String())
	req.SetTransport(strings.ToUpper(to.Network))
}
