// Package credentials keeps secrets and lends out what they are good for.
//
// It owns [Secret], which no formatter prints; [Resolve], which fetches a
// secret from where it is kept; and [Grant], from which an adapter gets an
// *http.Client that signs in to its own origins only, or a child process with a
// sealed environment, but never the secret itself; and [FileStore], which keeps
// tokens sealed on disk.
//
// It must not know what the requests are about, where the configuration comes
// from, or any protocol above HTTP; it imports no package of ours.
package credentials
