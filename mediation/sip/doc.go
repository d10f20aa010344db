// Package sip is the signalling of one side of a Mediation Server: a user
// agent that accepts and places calls, and the dialogs those calls live in.
//
// It stands on sipgo's parser and messages. Connections, transactions and
// dialogs are our own, because a back-to-back user agent needs what sipgo's do
// not have: the order of a dialog's messages, forked answers, offers in both
// directions and their glare, remote target refresh, reliable provisional
// responses, session timers, in-dialog requests on the connection that the
// dialog came on, and to know when a connection ends.
//
// The rooms below: transport (connections), transaction (RFC 3261 17) and
// locate (RFC 3263). The pieces here, from the wire up:
//
//	endpoint.go      a side: tables, how a call starts
//	routing.go       where a message goes, and by which connection
//	dispatch.go      what arrives, and whom it is for
//	validate.go      the precise answer to a request that cannot be served
//	exchange.go      requests outside a dialog: OPTIONS and REGISTER
//	session.go       a session as its owner sees it: lock, timer, wire
//	usage.go         a session without I/O: transactions in, outputs out; and its
//	calling.go       first INVITE in the client role
//	answering.go     first INVITE in the server role, 2xx and ACK
//	offering.go      re-INVITE, UPDATE and what else comes in a dialog
//	reliable.go      reliable provisional responses (RFC 3262)
//	refresh.go       session timers (RFC 4028)
//	dialog.go        RFC 3261 section 12: tags, CSeq, routes, target
//	digest.go        answers to challenges; register.go, a registration kept alive
//	identity.go      numbers and addresses that cross from one side to the other
//	carry.go         headers that do
//
// Ownership: an Endpoint owns its sockets and every goroutine started for it,
// and Close returns when they have ended. What happens on the wire to one
// Session happens under its lock, in order, and reaches its owner as Events.
package sip
