// Package sip is the signalling of one side of a Mediation Server: a user
// agent that accepts and places calls, and the dialogs those calls live in.
//
// It stands on sipgo's parser, transports and transactions. The dialogs are
// our own, because a back-to-back user agent needs what sipgo's dialogs do not
// have: forked answers, any number of provisional responses, remote target
// refresh, in-dialog requests on the connection that the dialog came on, and
// 2xx retransmission by RFC 3261 section 13.3.1.4.
//
// The pieces, from the wire up:
//
//	guard.go      who may connect at all: by address, before a byte is parsed
//	endpoint.go   listeners, transactions, where a request goes next
//	validate.go   the precise answer to a request that cannot be served
//	dialog.go     RFC 3261 section 12 without I/O: tags, CSeq, routes, target
//	session.go    a dialog with its INVITE transaction: what both roles share
//	uas.go uac.go the answering and the calling role
//	identity.go   numbers and addresses that cross from one side to the other
//	sdp.go        offers and answers as the call sees them
//	crypto.go     a=crypto (RFC 4568)
//
// Ownership: an Endpoint owns its sockets and every goroutine started for it,
// and Close returns when they have ended. A Session belongs to one call, whose
// goroutine makes all calls into it; what happens on the wire reaches that
// goroutine as Events.
package sip
