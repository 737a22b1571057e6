//! `config`: what the command line works with, and where each value comes from.

use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::examples;
use crate::{
    exit::Exit,
    failure::Failure,
    output::{Cell, Thing},
    session::Session,
    settings::{InForce, Settings},
};

/// See the settings of the command line
#[derive(Debug, Subcommand)]
#[command(before_help = examples!["mainspring config view --show-origin", "mainspring config path"])]
pub(crate) enum ConfigCommand {
    /// Show the settings in force; a key is never shown
    #[command(before_help = examples![
        "mainspring config view",
        "mainspring config view --show-origin",
        "mainspring config view --address 10.0.0.7:7420 --show-origin -o json",
    ])]
    View {
        /// Also where each comes from
        #[arg(long)]
        show_origin: bool,
    },
    /// Print the path of config.toml; credentials.toml is beside it
    #[command(before_help = examples!["mainspring config path", "mainspring config path -o json"])]
    Path {},
}

pub(super) fn run(command: ConfigCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::View { show_origin } => {
            let settings = Settings::load(&session.args, &session.environment)?;
            let things = settings.in_force(&session.args, &session.environment).into_iter().map(|setting| {
                let InForce { name, value, origin } = setting;
                let mut cells = vec![Cell::text(name), Cell::text(&value)];
                let mut json = json!({"setting": name, "value": value});
                if show_origin {
                    cells.push(Cell::text(&origin));
                    json["origin"] = origin.into();
                }
                Thing { name: String::new(), cells, json }
            });
            let columns = ["SETTING", "VALUE", "ORIGIN"];
            let columns = if show_origin { &columns[..] } else { &columns[..2] };
            session.out.things("settings", columns, things.collect())?;
        }
        ConfigCommand::Path {} => {
            let folder = session.environment.folder().ok_or_else(|| {
                Failure::usage("there is no folder for settings").hint("set MAINSPRING_CONFIG, XDG_CONFIG_HOME or HOME")
            })?;
            let shown = |path: &Path| path.display().to_string();
            let (config, credentials) = (shown(folder.config()), shown(folder.credentials()));
            let json = json!({"config": config, "credentials": credentials});
            session.out.value(&format!("{config}\n"), &json)?;
        }
    }
    Ok(Exit::Done)
}
