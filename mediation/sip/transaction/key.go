package transaction

import (
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Why a message belongs to no transaction.
var (
	ErrNoVia    = errors.New("no Via header")
	ErrNoCSeq   = errors.New("no CSeq header")
	ErrNoCallID = errors.New("no Call-ID header")
	ErrNoFrom   = errors.New("no From header")
	ErrNoBranch = errors.New("no branch in the top Via")
)

// cookie begins the branch of everybody who makes branches that are unique
// (RFC 3261 8.1.1.7).
const cookie = "z9hG4bK"

// ClientKey names the client transaction that a request of ours begins or that
// a response belongs to: the branch of its top Via and the method in its CSeq
// (RFC 3261 17.1.3). It fails with ErrNoVia, ErrNoCSeq or ErrNoBranch.
func ClientKey(msg sip.Message) (string, error) {
	via := msg.Via()
	if via == nil {
		return "", ErrNoVia
	}
	seq := msg.CSeq()
	if seq == nil {
		return "", ErrNoCSeq
	}
	branch := param(via.Params, "branch")
	if branch == "" {
		return "", ErrNoBranch
	}
	return join(branch, string(seq.MethodName)), nil
}

// ServerKey names the server transaction that a received request begins or
// belongs to (RFC 3261 17.2.3): the branch and sent-by of its top Via and its
// method, which for ACK is INVITE; of a peer that stands on RFC 2543, and makes
// no unique branches, all that the clause names but the To tag, which in an ACK
// is ours, see Server.Receive. An ACK of a 2xx has a branch of its own
// (13.2.2.4) and thus the key of no transaction.
//
// It fails with ErrNoVia and, without a branch that is unique, with ErrNoCSeq,
// ErrNoCallID or ErrNoFrom.
func ServerKey(req *sip.Request) (string, error) {
	method := req.Method
	if method == sip.ACK {
		method = sip.INVITE
	}
	return serverKey(req, method)
}

// CancelKey names the server transaction that a CANCEL received cancels: the
// INVITE's (RFC 3261 9.2). CANCEL has no effect on any other method. It fails
// as ServerKey does.
func CancelKey(req *sip.Request) (string, error) { return serverKey(req, sip.INVITE) }

func serverKey(req *sip.Request, method sip.RequestMethod) (string, error) {
	via := req.Via()
	if via == nil {
		return "", ErrNoVia
	}
	port := via.Port
	if port <= 0 {
		port = sip.DefaultPort(via.Transport)
	}
	sentBy := strings.ToLower(via.Host) + ":" + strconv.Itoa(port)
	branch := param(via.Params, "branch")
	if unique(branch) {
		return join(branch, sentBy, string(method)), nil
	}
	return oldServerKey(req, via, sentBy, method)
}

// unique says whether a branch alone tells its transaction from all others of
// its sender (RFC 3261 17.2.3).
func unique(branch string) bool {
	return len(branch) > len(cookie) && strings.HasPrefix(branch, cookie)
}

// oldServerKey is the key without a unique branch: Request-URI, From tag,
// Call-ID, CSeq number and the whole top Via (RFC 3261 17.2.3).
func oldServerKey(req *sip.Request, via *sip.ViaHeader, sentBy string, method sip.RequestMethod) (string, error) {
	seq, callID, from := req.CSeq(), req.CallID(), req.From()
	switch {
	case seq == nil:
		return "", ErrNoCSeq
	case callID == nil:
		return "", ErrNoCallID
	case from == nil:
		return "", ErrNoFrom
	}
	parts := []string{
		string(method), req.Recipient.String(), param(from.Params, "tag"), callID.Value(),
		strconv.FormatUint(uint64(seq.SeqNo), 10), strings.ToLower(via.Transport), sentBy,
	}
	// received and rport are ours, written on arrival (18.2.1, RFC 3581 4).
	for _, p := range via.Params {
		if name := strings.ToLower(p.K); name != "received" && name != "rport" {
			parts = append(parts, name+"="+p.V)
		}
	}
	return join(parts...), nil
}

// join makes one string of several of which any may hold anything: each goes
// behind its length, so that no two lists give the same string.
func join(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(strconv.Itoa(len(p)))
		b.WriteByte(':')
		b.WriteString(p)
	}
	return b.String()
}

// param is a parameter by its name, whose case does not matter (RFC 3261 7.3.1).
func param(params sip.HeaderParams, name string) string {
	for _, p := range params {
		if strings.EqualFold(p.K, name) {
			return p.V
		}
	}
	return ""
}
