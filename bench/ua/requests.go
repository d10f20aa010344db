package ua

import (
	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// respond sends a response; a peer that is gone is no news to a phone.
func (u *UA) respond(tx sip.ServerTransaction, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		u.log.Debug("a response cannot be sent", "code", res.StatusCode, "error", err)
	}
}

// checked answers requests that lack a header which every request has (RFC 3261 section 8.1.1) and hands on the rest.
func (u *UA) checked(next sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if req.From() == nil || req.To() == nil || req.CallID() == nil || req.CSeq() == nil {
			u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusBadRequest, "Bad Request", nil))
			return
		}
		next(req, tx)
	}
}

// dialogOf finds the call that a request belongs to by Call-ID and our tag, nil if there is none.
func (u *UA) dialogOf(req *sip.Request) *Call {
	to, _ := req.To().Params.Get("tag")
	return u.find(dialogKey(req.CallID().Value(), to))
}

func (u *UA) onAck(req *sip.Request, _ sip.ServerTransaction) {
	if c := u.dialogOf(req); c != nil {
		c.acknowledged(req.CSeq().SeqNo)
	}
}

func (u *UA) onBye(req *sip.Request, tx sip.ServerTransaction) {
	c := u.dialogOf(req)
	if c == nil {
		u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil))
		return
	}
	u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil))
	c.end(Remote, get(headersOf(req), "Reason"), nil)
}

// onStrayCancel answers a CANCEL that matches no INVITE under way; sipgo handles the others.
func (u *UA) onStrayCancel(req *sip.Request, tx sip.ServerTransaction) {
	u.respond(tx, sip.NewResponseFromRequest(req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist", nil))
}

func (u *UA) onOptions(req *sip.Request, tx sip.ServerTransaction) {
	u.allow(tx, sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil))
}

func (u *UA) onOther(req *sip.Request, tx sip.ServerTransaction) {
	u.allow(tx, sip.NewResponseFromRequest(req, sip.StatusMethodNotAllowed, "Method Not Allowed", nil))
}

func (u *UA) allow(tx sip.ServerTransaction, res *sip.Response) {
	res.AppendHeader(sip.NewHeader("Allow", allowed))
	u.respond(tx, res)
}
