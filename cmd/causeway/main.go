// Command causeway is the media edge: it relays calls across NATs and bridges
// encrypted calls to the telephone network. The commands are wiring; what
// they wire lives in the rooms of the module.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// Exit codes, the same for every command.
const (
	exitDone   = 0
	exitFailed = 1 // the work failed, or a target was missed
	exitUsage  = 2 // arguments or configuration cannot be used
	exitHost   = 3 // cannot bind, or a privilege is missing
)

type cli struct {
	Serve serveCmd `cmd:"" help:"Run the roles of a configuration; without -c the lab on 127.0.0.1."`
	Check checkCmd `cmd:"" help:"Check a configuration file; every fault with its line and column."`
	Demo  demoCmd  `cmd:"" help:"Serve the lab on loopback, place real calls through it, show what was measured."`

	Credentials credentialsCmd `cmd:"" help:"Issue a name and a password for the relay, good for some hours."`
	CheckPeer   checkPeerCmd   `cmd:"" name:"check-peer" help:"Show whether clients may reach a peer through the relay, and which rule decides."`

	Number  numberCmd  `cmd:"" help:"Show which rule of the location profile fires for a number, and its result."`
	Version versionCmd `cmd:"" help:"Print version, commit, Go version and platform."`
}

// streams are the command's standard streams; tests pass their own.
type streams struct{ out, err io.Writer }

func main() { os.Exit(run(os.Args[1:], streams{os.Stdout, os.Stderr})) }

func run(args []string, std streams) int {
	var c cli
	done := -1
	parser, err := kong.New(&c,
		kong.Name("causeway"),
		kong.Description("An open media edge: calls across NATs, and from encrypted clients to the telephone network."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { done = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(std.err, "causeway:", err)
		return exitFailed
	}
	ctx, err := parser.Parse(args)
	if done >= 0 { // --help
		return done
	}
	if err != nil {
		parser.Errorf("%s", err)
		if parse, ok := errors.AsType[*kong.ParseError](err); ok {
			_ = parse.Context.PrintUsage(true)
		}
		return exitUsage
	}
	ctx.Bind(std)
	if err := ctx.Run(); err != nil {
		e, ok := errors.AsType[*exitError](err)
		if !ok {
			e = &exitError{exitFailed, err}
		}
		if e.err != nil {
			fmt.Fprintln(std.err, "causeway:", e.err)
		}
		return e.code
	}
	return exitDone
}

// exitError is an error with the exit code it means; a nil err has been
// printed already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return fmt.Sprintf("exit %d: %v", e.code, e.err) }
func (e *exitError) Unwrap() error { return e.err }
