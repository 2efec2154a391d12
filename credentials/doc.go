// Package credentials keeps secrets and lends out what they are good for.
//
// It owns [Secret], which no formatter prints; [Resolve], which fetches a
// secret from where it is kept; and [Grant], from which an adapter gets an
// *http.Client that signs in to its own origins only, or a child process with a
// sealed environment, but never the secret itself.
//
// Of tokens that end it owns the [Source]: a [Refresher], made of a [Fetch] for
// each way to get one ([ClientCredentials], [RefreshToken], [JWTBearer],
// [TokenExchange], [SnowflakeKeyPair], [GitHubApp]), all but the last two over an
// [Endpoint]. What a person has to do first are [CodeFlow] and [DeviceFlow].
//
// It must not know what the requests are about, where the configuration comes
// from, or any protocol above HTTP; it imports no package of ours.
package credentials
