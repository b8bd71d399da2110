//! How the arguments say that a head is fitted.

use super::super::{Args, Method};
use crate::commands::gene_heads::{RankedRecipe, ResponseMethod};
use crate::fault::UsageError;

/// How changes of many genes are learnt.
pub(super) fn recipe(args: &Args) -> Result<RankedRecipe, UsageError> {
    let fault = |said: &str| Err(UsageError(said.to_owned()));
    let method = match args.method {
        Method::Auto => ResponseMethod::Auto,
        Method::Ridge => ResponseMethod::Ridge,
        Method::Mlp => ResponseMethod::Mlp,
        Method::Logistic => {
            return fault(
                "--method logistic is for classes; take ridge, mlp or auto, which is the mean of both",
            );
        }
    };
    let mut recipe = RankedRecipe::OURS.by(method);
    match (&args.mlp.penalty[..], &mut recipe.settings.penalty) {
        ([], _) => {}
        ([penalty], Some(default)) => *default = *penalty,
        (_, None) => return fault("--penalty is of ridge regression, not of --method mlp"),
        (_, Some(_)) => return fault("--penalty takes one number with --task perturbation"),
    }
    if let Some(settings) = &mut recipe.settings.mlp {
        settings.mlp = args.mlp.settings(settings.mlp);
    }
    Ok(recipe)
}

/// Screens and pairs of genes are learnt by ridge regression with penalties that were chosen for them.
pub(super) fn ensure_ridge(args: &Args, what: &str) -> Result<(), UsageError> {
    if matches!(args.method, Method::Auto | Method::Ridge) && args.mlp.penalty.is_empty() {
        return Ok(());
    }
    Err(UsageError(format!(
        "{what} are learnt by ridge regression with penalties of their own; leave out --method and --penalty, which are for \
         ranked responses and matrices"
    )))
}
